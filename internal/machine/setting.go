package machine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Level says how much depends on a setting.
type Level uint8

// The levels.
const (
	_ Level = iota
	// Hint is what the operator may want, and lvsha does not set.
	Hint
	// Should is what works worse otherwise.
	Should
	// Must is without what something does not work.
	Must
)

// Setting is a kernel parameter and the value that it should have.
type Setting struct {
	// Name is its path below /proc/sys: "net/ipv4/conf/eth0/rp_filter".
	Name string
	// Want is the value that is right, and Also others that will do.
	Want string
	Also []string
	// AtLeast says that a greater number will do too.
	AtLeast bool
	// Of is the parameter of all interfaces, where the kernel goes by the greater of
	// both; empty otherwise.
	Of    string
	Level Level
	// Why says what is the matter with another value.
	Why string
}

// Dotted is the name of a parameter as sysctl(8) has it: "net.ipv4.ip_forward". A dot
// in the name of an interface becomes a slash.
func Dotted(name string) string {
	return strings.NewReplacer("/", ".", ".", "/").Replace(name)
}

// Wrong is a setting that is not as it should be.
type Wrong struct {
	Setting
	// Have is the value in force.
	Have string
}

// String says what is the matter and how to put it right.
func (w Wrong) String() string {
	return fmt.Sprintf("%s = %s: %s; right is: %s", Dotted(w.Name), w.Have, w.Why, w.Remedy())
}

// Remedy is the command that sets what is wanted.
func (w Wrong) Remedy() string { return fmt.Sprintf("sysctl -w %s=%s", Dotted(w.Name), w.Want) }

// Read returns the value of a kernel parameter; an error is that there is none.
type Read func(name string) (string, error)

// Assess returns the settings that are not as they should be. A parameter that cannot
// be read (its interface or module is not there) is left out.
func Assess(settings []Setting, read Read) (out []Wrong) {
	for _, s := range settings {
		have, err := s.inForce(read)
		if err == nil && !s.will(have) {
			out = append(out, Wrong{Setting: s, Have: have})
		}
	}
	return out
}

func (s Setting) will(value string) bool {
	return value == s.Want || slices.Contains(s.Also, value) || s.AtLeast && greater(s.Want, value) == value
}

// inForce is the value that the kernel goes by.
func (s Setting) inForce(read Read) (string, error) {
	have, err := read(s.Name)
	if err != nil || s.Of == "" {
		return have, err
	}
	all, err := read(s.Of)
	if err != nil {
		return have, nil
	}
	return greater(have, all), nil
}

// greater is the greater of two numbers; the first if one is none.
func greater(a, b string) string {
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(b)
	if errX == nil && errY == nil && y > x {
		return b
	}
	return a
}

// Changed is a kernel parameter that was changed, with the value to put back.
type Changed struct {
	Name  string `json:"name"`
	Found string `json:"found"`
	Set   string `json:"set"`
	// Follows says that the kernel changed it along with another one.
	Follows bool `json:"follows,omitempty"`
}

// Stale reports whether somebody has set the parameter to another value since: then it
// is his, and not put back.
func (c Changed) Stale(have string) bool { return !c.Follows && have != c.Set }

// String is what was set: "net.ipv4.ip_forward = 1".
func (c Changed) String() string { return fmt.Sprintf("%s = %s", Dotted(c.Name), c.Set) }

// Reconcile returns what is to be set, in order, and what of the parameters changed
// before is to be put back, in order, because it is not wanted any more. Settings below
// the level are left alone. interfaces are the machine's; it is asked only where the
// kernel changes something of them along, and nil knows none.
func Reconcile(settings []Setting, level Level, before []Changed, read Read, interfaces func() []string) (set, back []Changed) {
	found := make(map[string]string, len(before))
	for _, c := range before {
		found[c.Name] = c.Found
	}
	wanted := make(map[string]bool, len(settings))
	for _, s := range settings {
		if s.Level < level {
			continue
		}
		wanted[s.Name] = true
		have, err := s.inForce(read)
		if err != nil || s.will(have) {
			continue
		}
		own, err := read(s.Name)
		if err != nil {
			continue
		}
		for _, c := range append(along(s.Name, own, read, interfaces), Changed{Name: s.Name, Found: own, Set: s.Want}) {
			if was, changed := found[c.Name]; changed {
				c.Found = was // at first
			}
			set = append(set, c)
		}
	}
	for _, c := range slices.Backward(before) {
		followed := wanted[forward4] && follows(c.Name, forward4) || wanted[forward6] && follows(c.Name, forward6)
		if !wanted[c.Name] && !followed {
			back = append(back, c)
		}
	}
	return set, back
}

// The parameters that switch forwarding for the whole machine, with what the kernel
// changes along: inet_forward_change (net/ipv4/devinet.c), addrconf_fixup_forwarding
// (net/ipv6/addrconf.c).
const (
	forward4  = "net/ipv4/ip_forward"
	forward6  = "net/ipv6/conf/all/forwarding"
	conf4     = "net/ipv4/conf/"
	conf6     = "net/ipv6/conf/"
	redirects = conf4 + "all/accept_redirects"
)

// follows reports whether the kernel changes a parameter along with another one.
func follows(name, leader string) bool {
	of := func(conf string) bool {
		return strings.HasPrefix(name, conf) && strings.HasSuffix(name, "/forwarding") && name != conf+"all/forwarding"
	}
	return leader == forward4 && (name == redirects || of(conf4)) || leader == forward6 && of(conf6)
}

// along are the parameters that the kernel changes with another one, which has a value
// now and is being set to 1. Interfaces that have that value get it back with it.
func along(leader, now string, read Read, interfaces func() []string) (out []Changed) {
	conf := conf6
	switch leader {
	case forward4:
		conf = conf4
		if found, err := read(redirects); err == nil {
			out = append(out, Changed{Name: redirects, Found: found, Set: "0", Follows: true})
		}
	case forward6:
	default:
		return nil
	}
	names := []string{"default"}
	if interfaces != nil {
		names = append(names, interfaces()...)
	}
	for _, ifname := range names {
		name := conf + ifname + "/forwarding"
		if found, err := read(name); err == nil && found != now {
			out = append(out, Changed{Name: name, Found: found, Set: "1", Follows: true})
		}
	}
	return out
}
