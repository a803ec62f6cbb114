package healthcheck

import "fmt"

// Advice is what a check says of a server besides that it is up or down. The
// zero value says nothing.
type Advice struct {
	// Unit says what Weight means.
	Unit   Unit
	Weight int
	// Admin is what the server asks to be treated as.
	Admin Admin
}

// Unit is the unit of an advised weight.
type Unit uint8

const (
	// NoWeight advises none.
	NoWeight Unit = iota
	// Absolute replaces the configured weight.
	Absolute
	// Percent is a part of the configured weight, rounded up.
	Percent
	// Instead stands in place of the configured weight; of several the differences to
	// it add up (keepalived's misc_dynamic).
	Instead
	// Added is added to the configured weight (keepalived's weighted files).
	Added
)

// Admin is a state that a server asks for itself (HAProxy's agent-check).
type Admin uint8

const (
	// AsIs asks for nothing.
	AsIs Admin = iota
	// Drain wants no new connections.
	Drain
	// Maint wants no traffic.
	Maint
)

// String words the advice, such as "weight 50%"; empty when there is none.
func (a Advice) String() string {
	if a == (Advice{}) {
		return ""
	}
	var s string
	switch a.Unit {
	case Absolute:
		s = fmt.Sprintf("weight %d", a.Weight)
	case Percent:
		s = fmt.Sprintf("weight %d%%", a.Weight)
	case Instead:
		s = fmt.Sprintf("weight %d", a.Weight)
	case Added:
		s = fmt.Sprintf("weight %+d", a.Weight)
	}
	word := map[Admin]string{Drain: "drain", Maint: "maintenance"}[a.Admin]
	if s != "" && word != "" {
		s += ", "
	}
	return s + word
}

// Weigh applies what several checks advise to a configured weight: a weight that
// is named, then parts of it, then what is added, within 0 and most. admin is the
// strongest wish.
func Weigh(configured, most int, advice []Advice) (weight int, admin Admin) {
	weight = configured
	for _, unit := range []Unit{Absolute, Percent, Instead, Added} {
		for _, a := range advice {
			if a.Unit != unit {
				continue
			}
			switch unit {
			case Absolute:
				weight = a.Weight
			case Percent:
				weight = min((weight*a.Weight+99)/100, most)
			case Instead:
				weight += a.Weight - configured
			case Added:
				weight += a.Weight
			}
		}
	}
	for _, a := range advice {
		admin = max(admin, a.Admin)
	}
	return min(max(weight, 0), most), admin
}
