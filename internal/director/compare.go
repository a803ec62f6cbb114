package director

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/peer"
)

const (
	// minSettle is the least that a difference has to last.
	minSettle = 2 * time.Second
	// maxSeen bounds the targets of another director, and maxID the name of one.
	maxSeen = 100_000
	maxID   = 512
	// maxReason is how much of a reason is told.
	maxReason = 160
	// batchSize is where a message with what is seen ends, in octets: below
	// peer.ComposeLimit by more than one entry has.
	batchSize = 48 << 10
)

// View is what another director sees of a target.
type View struct {
	// Director is its name in the file.
	Director string
	healthcheck.Verdict
}

// targetID names a target between directors: both make the same name of the same
// check of the same server, whatever its pace.
func targetID(t healthcheck.Target) string {
	id := t.Canonical().String()
	if len(id) > maxID {
		// What is cut off is told apart by its sum.
		id = strings.ToValidUTF8(id[:maxID-17], "") + fmt.Sprintf(" %016x", textSum(id))
	}
	return id
}

// textSum is a short sum of a long text.
func textSum(text string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(text))
	return h.Sum64()
}

// settle is how long two directors that both work may differ over a check: each
// finds out in its own rhythm, after as many answers as the check wants.
func settle(c healthcheck.Check) time.Duration {
	interval := max(cmp.Or(c.Interval, healthcheck.DefaultInterval), c.DownInterval) + c.Jitter
	answers := max(cmp.Or(c.Rise, healthcheck.DefaultRise), cmp.Or(c.Fall, healthcheck.DefaultFall))
	// One that comes and goes may be held back here and not there.
	return max(2*interval*time.Duration(answers), minSettle) + c.Damping.Hold
}

// seen is what a director sees of a target, as it is told to others.
type seen struct {
	State  string    `json:"state"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
	// Heard says of one that is down that something is heard from it, such as a
	// refusal.
	Heard bool `json:"heard,omitempty"`
	// Mute is that of the verdict. Directors before this do not tell, and count every
	// verdict themselves.
	Mute bool `json:"mute,omitempty"`
}

// told is a message of the kind "health".
type told struct {
	// Seen is new or has changed; Gone is no longer checked.
	Seen map[string]seen `json:"seen,omitempty"`
	Gone []string        `json:"gone,omitempty"`
	// Whole says that everything has been told by now.
	Whole bool `json:"whole,omitempty"`
}

// own is a target of our own.
type own struct {
	seen
	server string
	settle time.Duration
}

// observe makes of the monitor's targets what is told of them. Of two targets that
// have one name, at both directors, the one that is worse off counts.
func observe(all []healthcheck.Status) map[string]own {
	out := make(map[string]own, len(all))
	for _, s := range all {
		id := targetID(s.Target)
		now := own{
			seen: seen{
				State: s.State.String(), Since: s.Since.Truncate(time.Millisecond), Reason: peer.Printable(s.Reason, maxReason),
				Heard: s.State == healthcheck.Down && !s.Last.Silent && !s.Last.Start.IsZero(),
				Mute:  s.Mute,
			},
			server: s.Target.Server.String(), settle: settle(s.Target.Check),
		}
		if before, twice := out[id]; twice {
			now.settle = max(now.settle, before.settle)
			if rank(before.State) > rank(now.State) {
				now.seen = before.seen
			}
		}
		out[id] = now
	}
	return out
}

// rank orders states by what they say against a server.
func rank(state string) int { return slices.Index([]string{"up", "unknown", "down"}, state) }

// other is another director with a session.
type other struct {
	session *peer.Session
	sees    map[string]seen
	whole   bool            // it has told everything
	sent    map[string]seen // what it has been told
	done    bool            // it has been told that this is all
	differ  map[string]*difference
}

// difference is a target that is up for one and down for the other.
type difference struct {
	since time.Time // the first look at which it was there
	told  bool      // it has lasted
}

// comparison is what directors see of the servers, side by side. It is not safe for
// use by several goroutines.
type comparison struct {
	own    map[string]own
	others map[string]*other
	// told counts from one what others have said, and who comes and goes: what is made of
	// it holds until the next.
	told uint64
	// past is what directors saw whose sessions have ended.
	past map[string]past
	// total counts the differences that have lasted, by director, since the start.
	total map[string]uint64
}

func newComparison() *comparison {
	return &comparison{told: 1, others: make(map[string]*other), past: make(map[string]past), total: make(map[string]uint64)}
}

// open begins with a director that nothing is known of.
func (c *comparison) open(name string, s *peer.Session) {
	c.told++
	c.others[name] = &other{session: s, sees: make(map[string]seen), sent: make(map[string]seen), differ: make(map[string]*difference)}
}

// shut forgets what a director saw, and says how many differences with it there
// were.
func (c *comparison) shut(name string, s *peer.Session) (differed int) {
	o := c.others[name]
	if o == nil || o.session != s {
		return 0
	}
	c.told++
	delete(c.others, name)
	for _, d := range o.differ {
		if d.told {
			differed++
		}
	}
	return differed
}

// compose is what a director has not been told yet, as much as one message has
// room for; more says that there is more.
func (c *comparison) compose(name string) (payload []byte, more bool) {
	o := c.others[name]
	if o == nil || c.own == nil {
		return nil, false
	}
	news := told{Seen: make(map[string]seen)}
	size := 0
	for id, s := range c.own {
		if before, has := o.sent[id]; has && before == s.seen {
			continue
		}
		if size >= batchSize {
			more = true
			break
		}
		news.Seen[id], o.sent[id] = s.seen, s.seen
		size += entrySize(id, s.Reason)
	}
	for id := range o.sent {
		if _, has := c.own[id]; has {
			continue
		}
		if size >= batchSize {
			more = true
			break
		}
		news.Gone = append(news.Gone, id)
		delete(o.sent, id)
		size += entrySize(id, "")
	}
	if news.Whole = !more && !o.done; news.Whole {
		o.done = true
	}
	if len(news.Seen) == 0 && len(news.Gone) == 0 && !news.Whole {
		return nil, false
	}
	payload, err := json.Marshal(news)
	if err != nil {
		panic(fmt.Sprintf("director: encoding what is seen: %v", err)) // texts and times always encode
	}
	return payload, more
}

// entrySize bounds what an entry has in JSON, where an octet may become six.
func entrySize(id, reason string) int { return 128 + 6*(len(id)+len(reason)) }

// receive takes in what a director says. An error is for what no director says.
func (c *comparison) receive(name string, s *peer.Session, payload []byte) error {
	var news told
	if err := json.Unmarshal(payload, &news); err != nil {
		return fmt.Errorf("reading what is seen: %w", err)
	}
	o := c.others[name]
	if o == nil || o.session != s {
		return nil
	}
	c.told++
	for _, id := range news.Gone {
		delete(o.sees, id)
	}
	for id, v := range news.Seen {
		if len(id) > maxID {
			continue // no name of ours
		}
		if rank(v.State) < 0 {
			return fmt.Errorf("a server that is %q", peer.Printable(v.State, 20))
		}
		v.Reason = peer.Printable(v.Reason, maxReason)
		o.sees[id] = v
	}
	if len(o.sees) > maxSeen {
		return fmt.Errorf("more than %d servers", maxSeen)
	}
	o.whole = o.whole || news.Whole
	return nil
}

// verdictEvent is a difference that has begun or ended.
type verdictEvent struct {
	director string
	id       string
	begins   bool
	ours     own
	theirs   seen
}

// look compares, and returns which differences have lasted long enough to be told
// and which that were told are over. next is when to look again; zero is when
// something has changed.
func (c *comparison) look(now time.Time) (events []verdictEvent, next time.Time) {
	for _, name := range slices.Sorted(maps.Keys(c.others)) {
		o := c.others[name]
		for id, d := range o.differ {
			ours, theirs := c.own[id], o.sees[id]
			if differs(ours.seen, theirs) {
				continue
			}
			delete(o.differ, id)
			if d.told {
				events = append(events, verdictEvent{director: name, id: id, ours: ours, theirs: theirs})
			}
		}
		for id, theirs := range o.sees {
			ours, has := c.own[id]
			if !has || !differs(ours.seen, theirs) {
				continue
			}
			d := o.differ[id]
			if d == nil {
				d = &difference{since: now}
				o.differ[id] = d
			}
			if d.told {
				continue
			}
			if due := d.since.Add(ours.settle); due.After(now) {
				if next.IsZero() || due.Before(next) {
					next = due
				}
				continue
			}
			d.told = true
			c.total[name]++
			events = append(events, verdictEvent{director: name, id: id, begins: true, ours: ours, theirs: theirs})
		}
	}
	slices.SortFunc(events, func(a, b verdictEvent) int {
		return cmp.Or(cmp.Compare(a.director, b.director), cmp.Compare(a.id, b.id))
	})
	return events, next
}

// differs is whether one has it up and the other down. Who does not know yet does
// not differ.
func differs(a, b seen) bool {
	return (a.State == "up" && b.State == "down") || (a.State == "down" && b.State == "up")
}

// views are what the other directors see of a target, sorted by name.
func (c *comparison) views(id string) []View {
	var out []View
	for _, name := range slices.Sorted(maps.Keys(c.others)) {
		if v, has := c.others[name].sees[id]; has {
			out = append(out, View{Director: name, Verdict: v.verdict()})
		}
	}
	return out
}

// opinions are what the other directors know of hosts, each with the names of the
// targets that tell of it. Who has not told everything has none yet.
func (c *comparison) opinions(hosts [][]string) (out []healthcheck.Opinion) {
	for _, name := range slices.Sorted(maps.Keys(c.others)) {
		o := c.others[name]
		if !o.whole {
			continue
		}
		opinion := healthcheck.Opinion{Director: name}
		for _, ids := range hosts {
			alive, dead := false, false
			for _, id := range ids {
				switch v := o.sees[id]; {
				case v.State == "up" || v.Heard:
					alive = true
				case v.State == "down":
					dead = true
				}
			}
			switch {
			case alive:
				opinion.Alive++
			case dead:
				opinion.Dead++
			}
		}
		out = append(out, opinion)
	}
	return out
}

func (s seen) verdict() healthcheck.Verdict {
	v := healthcheck.Verdict{Reason: s.Reason, Since: s.Since, Mute: s.Mute}
	switch s.State {
	case "up":
		v.State = healthcheck.Up
	case "down":
		v.State = healthcheck.Down
	}
	return v
}

// compared is a director in numbers.
type compared struct {
	// both have the target; alone is ours or theirs only.
	both, alone int
	// differ are told differences, and total all there have been.
	differ int
	total  uint64
	whole  bool
}

// numbers are those of a director; ok is false without a session.
func (c *comparison) numbers(name string) (n compared, ok bool) {
	n.total = c.total[name]
	o := c.others[name]
	if o == nil {
		return n, false
	}
	for id := range o.sees {
		if _, has := c.own[id]; has {
			n.both++
		}
	}
	n.alone = len(o.sees) + len(c.own) - 2*n.both
	n.whole = o.whole
	for _, d := range o.differ {
		if d.told {
			n.differ++
		}
	}
	return n, true
}

// sentence is a difference in words.
func (e verdictEvent) sentence() string {
	return fmt.Sprintf("server %s is %s here (%s) and %s on %s (%s)", e.ours.server, e.ours.State, e.ours.Reason, e.theirs.State, e.director, e.theirs.Reason)
}

// differences are the told ones of now, in words: a line each, or one for all of
// a director where there are many.
func (c *comparison) differences() (lines []string) {
	const many = 5
	for _, name := range slices.Sorted(maps.Keys(c.others)) {
		o := c.others[name]
		var all []verdictEvent
		for _, id := range slices.Sorted(maps.Keys(o.differ)) {
			if o.differ[id].told {
				all = append(all, verdictEvent{director: name, id: id, ours: c.own[id], theirs: o.sees[id]})
			}
		}
		if len(all) <= many {
			for _, e := range all {
				lines = append(lines, e.sentence()+": one of the two does not see it right")
			}
			continue
		}
		lines = append(lines, summary(name, all)+": one of the two does not see right")
	}
	return lines
}

// summary is many differences with one director in one sentence.
func summary(name string, all []verdictEvent) string {
	down := 0
	for _, e := range all {
		if e.ours.State == "down" {
			down++
		}
	}
	return fmt.Sprintf("%d servers are down here and up on %s, %d the other way round; the first: %s", down, name, len(all)-down, all[0].sentence())
}
