package healthcheck_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
)

// pooled is a pool whose servers are letters: U up, D down, ? unknown, and digits
// before them the weight. d is down and doubted, R up and r down while it drains, M up
// and m down in maintenance. A is new and awaited, L up and l down and on its leave.
type pooled struct {
	pool  healthcheck.Pool
	rules healthcheck.PoolRules
	since map[int]time.Time
	was   string
}

// look is what a pool makes of its servers: the weight of each that is used, "-" for
// one that is not, and whether there is a quorum.
func (p *pooled) look(at int, servers string) string {
	now := time.Unix(1000, 0).Add(time.Duration(at) * time.Second)
	if p.since == nil {
		p.since = make(map[int]time.Time)
	}
	var members []healthcheck.Member
	weight := 0
	states := map[rune]healthcheck.State{
		'U': healthcheck.Up, 'D': healthcheck.Down, 'd': healthcheck.Down, '?': healthcheck.Unknown,
		'A': healthcheck.Unknown, 'L': healthcheck.Up, 'l': healthcheck.Down,
		'R': healthcheck.Up, 'r': healthcheck.Down, 'M': healthcheck.Up, 'm': healthcheck.Down,
	}
	admins := map[rune]healthcheck.Admin{'R': healthcheck.Drain, 'r': healthcheck.Drain, 'M': healthcheck.Maint, 'm': healthcheck.Maint}
	letters := strings.Trim(servers, " ")
	plain := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, letters)
	for _, r := range letters {
		if r >= '0' && r <= '9' {
			weight = 10*weight + int(r-'0')
			continue
		}
		i := len(members)
		if len(p.was) != len(plain) || p.was[i] != plain[i] {
			p.since[i] = now
		}
		members = append(members, healthcheck.Member{
			Server: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80), Weight: max(weight, 1),
			Verdict: healthcheck.Verdict{State: states[r], Since: p.since[i]}, Doubted: r == 'd',
			Awaited: r == 'A', Leaving: r == 'L' || r == 'l',
			Advice: []healthcheck.Advice{{Admin: admins[r]}},
		})
		weight = 0
	}
	p.was = plain
	p.rules.MostWeight = 65535
	out := p.pool.Judge(now, p.rules, members)
	var b strings.Builder
	for _, s := range out.Shares {
		if s.Used {
			fmt.Fprintf(&b, "%d ", s.Weight)
		} else {
			b.WriteString("- ")
		}
	}
	if out.Quorum {
		b.WriteString("quorum")
	} else {
		b.WriteString("none")
	}
	if out.Changed {
		b.WriteString("!")
	}
	return b.String()
}

func TestPool(t *testing.T) {
	type step struct {
		at      int
		servers string
		want    string
	}
	tests := []struct {
		name  string
		rules healthcheck.PoolRules
		steps []step
	}{
		{"plain", healthcheck.PoolRules{}, []step{
			{0, "2???", "- - - none"}, {1, "2U??", "2 - - quorum!"}, {2, "2UUD", "2 1 - quorum"}, {3, "2DDD", "- - - none!"}, {4, "2DDU", "- - 1 quorum!"},
		}},
		// keepalived: gained at quorum + hysteresis, lost below quorum - hysteresis.
		{"quorum with hysteresis", healthcheck.PoolRules{Quorum: 3, Hysteresis: 1}, []step{
			{0, "UUUU", "1 1 1 1 quorum!"}, {1, "UUUD", "1 1 1 - quorum"}, {2, "UUDD", "1 1 - - quorum"}, {3, "UDDD", "1 - - - none!"},
			{4, "UUDD", "1 1 - - none"}, {5, "UUUD", "1 1 1 - none"}, {6, "UUUU", "1 1 1 1 quorum!"},
		}},
		{"a sorry server takes it all without a quorum", healthcheck.PoolRules{Quorum: 2, Sorry: true}, []step{
			{0, "UUU", "1 1 1 quorum!"}, {1, "UDD", "- - - none!"}, {2, "UUD", "1 1 - quorum!"},
		}},
		{"weight 0 makes no quorum", healthcheck.PoolRules{}, []step{{0, "UD", "1 - quorum!"}}},
		{"slow start", healthcheck.PoolRules{SlowStart: 10 * time.Second, Scale: 100}, []step{
			{0, "UU", "100 100 quorum!"}, {1, "UD", "100 - quorum"}, {2, "UU", "100 1 quorum"}, {7, "UU", "100 50 quorum"},
			{11, "UU", "100 90 quorum"}, {12, "UU", "100 100 quorum"}, {13, "UU", "100 100 quorum"},
		}},
		{"no slow start at the start", healthcheck.PoolRules{SlowStart: 10 * time.Second, Scale: 100}, []step{
			{0, "??", "- - none"}, {1, "U?", "100 - quorum!"}, {2, "UU", "100 100 quorum"},
		}},
		{"no slow start after a doubt", healthcheck.PoolRules{SlowStart: 10 * time.Second, Scale: 100}, []step{
			{0, "UU", "100 100 quorum!"}, {1, "dd", "100 100 quorum"}, {2, "Ud", "100 100 quorum"}, {3, "UU", "100 100 quorum"}, {4, "UD", "100 - quorum"}, {5, "UU", "100 1 quorum"},
		}},
		{"max_down keeps those that failed last", healthcheck.PoolRules{MaxDown: 50}, []step{
			{0, "UUUU", "1 1 1 1 quorum!"}, {1, "UUUD", "1 1 1 - quorum"}, {2, "DUUD", "- 1 1 - quorum"},
			{3, "DDUD", "- 1 1 - quorum"}, {4, "DDDD", "- 1 1 - none!"}, {5, "DDDU", "- - 1 1 quorum!"},
		}},
		{"what max_down kept has no slow start", healthcheck.PoolRules{MaxDown: 25, SlowStart: 10 * time.Second, Scale: 100}, []step{
			{0, "UUUU", "100 100 100 100 quorum!"}, {1, "DDDD", "- 100 100 100 none!"}, {2, "DDDU", "- 100 100 100 quorum!"}, {3, "UDDU", "1 - 100 100 quorum"},
		}},
		{"max_down lets one go at least", healthcheck.PoolRules{MaxDown: 30}, []step{
			{0, "UUU", "1 1 1 quorum!"}, {1, "UUD", "1 1 - quorum"}, {2, "UDD", "1 1 - quorum"}, {3, "DDD", "1 1 - none!"},
		}},
		{"a large weight leaves slow start less room", healthcheck.PoolRules{SlowStart: 10 * time.Second, Scale: 100}, []step{
			{0, "UU", "100 100 quorum!"}, {1, "5000U1U", "65000 13 quorum"},
		}},
		{"panic uses all", healthcheck.PoolRules{Panic: 50}, []step{
			{0, "UUUU", "1 1 1 1 quorum!"}, {1, "UUDD", "1 1 - - quorum"}, {2, "UDDD", "1 1 1 1 quorum"}, {3, "DDDD", "1 1 1 1 none!"}, {4, "?DDD", "- 1 1 1 none"},
		}},
		// One of two that are not taken out on purpose is down.
		{"those that are drained or disabled do not keep panic away", healthcheck.PoolRules{Panic: 60}, []step{
			{0, "UURM", "1 1 0 - quorum!"}, {1, "UDRM", "1 1 0 - quorum"}, {2, "UDrm", "1 1 0 - quorum"}, {3, "UUrm", "1 1 - - quorum"},
		}},
		{"nor are they what there is to panic about", healthcheck.PoolRules{Panic: 100}, []step{{0, "rm", "- - none!"}}},
		{"those that are drained or disabled are none that max_down counts", healthcheck.PoolRules{MaxDown: 50}, []step{
			{0, "UUUURRMM", "1 1 1 1 0 0 - - quorum!"}, {1, "UUDDRRMM", "1 1 - - 0 0 - - quorum"}, {2, "UDDDRRMM", "1 1 - - 0 0 - - quorum"},
			{3, "UUDDrrmm", "1 1 - - - - - - quorum"}, {4, "rrmmUUDD", "- - - - 1 1 - - quorum"},
		}},
		{"doubt keeps", healthcheck.PoolRules{Sorry: false}, []step{
			{0, "UUD", "1 1 - quorum!"}, {1, "ddD", "1 1 - quorum"}, {2, "UUD", "1 1 - quorum"}, {3, "DDD", "- - - none!"},
		}},
		{"doubt keeps the sorry server away", healthcheck.PoolRules{Quorum: 2, Sorry: true}, []step{
			{0, "UUD", "1 1 - quorum!"}, {1, "ddD", "1 1 - quorum"}, {2, "DDD", "- - - none!"},
		}},
		{"doubt is no panic", healthcheck.PoolRules{Panic: 60}, []step{{0, "UUD", "1 1 - quorum!"}, {1, "ddD", "1 1 - quorum"}}},
		{"one that leaves stays while another is awaited", healthcheck.PoolRules{}, []step{
			{0, "UU", "1 1 quorum!"}, {1, "LLAA", "1 - - - quorum"}, {2, "LAU", "- - 1 quorum"},
		}},
		{"as far as the quorum needs it", healthcheck.PoolRules{Quorum: 2, Sorry: true}, []step{
			{0, "UU", "1 1 quorum!"}, {1, "ULA", "1 1 - quorum"}, {2, "ULD", "- - - none!"},
		}},
		{"with the most weight", healthcheck.PoolRules{Quorum: 4}, []step{
			{0, "2U2U5U1U", "2 2 5 1 quorum!"}, {1, "2L2L5L1LA", "- - 5 - - quorum"}, {2, "2L2L1LAA", "2 2 - - - quorum"},
		}},
		{"less the hysteresis", healthcheck.PoolRules{Quorum: 3, Hysteresis: 1}, []step{{0, "UUUU", "1 1 1 1 quorum!"}, {1, "LLLLAAAA", "1 1 - - - - - - quorum"}}},
		{"who is awaited may make the quorum", healthcheck.PoolRules{Quorum: 2, Sorry: true}, []step{
			{0, "UU", "1 1 quorum!"}, {1, "UA", "1 - quorum"}, {2, "UD", "- - none!"}, {3, "UA", "- - none"}, {4, "UU", "1 1 quorum!"},
		}},
		{"but nobody at all is none", healthcheck.PoolRules{Sorry: true}, []step{{0, "U", "1 quorum!"}, {1, "DA", "- - none!"}}},
		{"nor does anybody stay beside a sorry server in use", healthcheck.PoolRules{Quorum: 2, Sorry: true}, []step{{0, "UD", "- - none!"}, {1, "LA", "- - none"}}},
		{"without a quorum one stays", healthcheck.PoolRules{Quorum: 3}, []step{{0, "UUD", "1 1 - none!"}, {1, "LLA", "1 - - none"}}},
		{"of those that panic or max_down had kept, one", healthcheck.PoolRules{Panic: 50}, []step{
			{0, "UU", "1 1 quorum!"}, {1, "DD", "1 1 none!"}, {2, "llA", "1 - - none"}, {3, "lU", "- 1 quorum!"},
		}},
		{"those that leave are none that max_down counts", healthcheck.PoolRules{MaxDown: 50}, []step{
			{0, "UUUU", "1 1 1 1 quorum!"}, {1, "UDDDLLLLA", "1 - - 1 - - - - - quorum"},
		}},
		{"nothing is told before it is known", healthcheck.PoolRules{Quorum: 2, Hysteresis: 1}, []step{
			{0, "????", "- - - - none"}, {1, "UU??", "1 1 - - none"}, {2, "UU?U", "1 1 - 1 quorum!"},
		}},
		{"nor after it cannot be any more", healthcheck.PoolRules{Quorum: 2, Hysteresis: 1}, []step{
			{0, "????", "- - - - none"}, {1, "UUD?", "1 1 - - none"}, {2, "UUDD", "1 1 - - none!"}, {3, "UUDU", "1 1 - 1 quorum!"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pooled{rules: tt.rules}
			for _, s := range tt.steps {
				if got := p.look(s.at, s.servers); got != s.want {
					t.Errorf("at %d s with %s: got %s, want %s", s.at, s.servers, got, s.want)
				}
			}
		})
	}
}

// TestPoolAdvice holds what becomes of what checks advise.
func TestPoolAdvice(t *testing.T) {
	up := healthcheck.Verdict{State: healthcheck.Up}
	server := func(i byte) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, i}), 80) }
	members := []healthcheck.Member{
		{Server: server(1), Weight: 10, Verdict: up, Advice: []healthcheck.Advice{{Unit: healthcheck.Percent, Weight: 50}}},
		{Server: server(2), Weight: 10, Verdict: up, Advice: []healthcheck.Advice{{Admin: healthcheck.Drain}}},
		{Server: server(3), Weight: 10, Verdict: up, Advice: []healthcheck.Advice{{Admin: healthcheck.Maint}}},
		{Server: server(4), Weight: 10, Verdict: up},
	}
	var p healthcheck.Pool
	out := p.Judge(time.Unix(1000, 0), healthcheck.PoolRules{MostWeight: 100}, members)
	want := []healthcheck.Share{
		{Used: true, Weight: 5, Why: "weight 5 instead of 10, as it was advised"},
		{Used: true, Weight: 0, Admin: healthcheck.Drain, Why: "asks to be drained"},
		{Weight: 10, Admin: healthcheck.Maint, Why: "asks for maintenance"},
		{Used: true, Weight: 10},
	}
	if diff := cmp.Diff(want, out.Shares); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if out.Sum != 15 || out.Up != 4 {
		t.Errorf("sum %d, up %d", out.Sum, out.Up)
	}
}

// TestPoolNext holds that a growing share is looked at again.
func TestPoolNext(t *testing.T) {
	p := pooled{rules: healthcheck.PoolRules{SlowStart: 100 * time.Second, Scale: 100}}
	for _, s := range []string{"UU", "UD", "UU"} {
		p.look(0, s)
	}
	now := time.Unix(1000, 0)
	server := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), 80)
	members := []healthcheck.Member{{Server: server, Weight: 1, Verdict: healthcheck.Verdict{State: healthcheck.Up}}}
	steps := 0
	for {
		out := p.pool.Judge(now, p.rules, members)
		if out.Next.IsZero() {
			break
		}
		if !out.Next.After(now) || steps > 100 {
			t.Fatalf("next is %v at %v after %d steps", out.Next, now, steps)
		}
		now, steps = out.Next, steps+1
	}
	if steps < 20 || now.Sub(time.Unix(1000, 0)) != 100*time.Second {
		t.Errorf("%d steps, the last after %v", steps, now.Sub(time.Unix(1000, 0)))
	}
}

// TestDoubt plays what is heard of hosts: a letter for each, A heard now, a not since
// but not given up, - dead for long, L lost now, in silence since the second before
// that; it stays lost while the letter is l. The answer is n for doubt, k for keeping
// what was lost without doubt, - for neither.
func TestDoubt(t *testing.T) {
	type step struct {
		at     int
		hosts  string
		others []healthcheck.Opinion
		want   string
	}
	sees := func(alive, dead int) []healthcheck.Opinion {
		return []healthcheck.Opinion{{Director: "lvs2", Alive: alive, Dead: dead}}
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"one is lost", []step{{10, "AAA", nil, "-"}, {12, "LAA", nil, "-"}, {13, "lAA", nil, "-"}, {14, "laa", nil, "-"}}},
		{"one is lost, and it takes a moment to hear the others", []step{{10, "AAA", nil, "-"}, {12, "Laa", nil, "k"}, {13, "lAa", nil, "-"}, {14, "laa", nil, "-"}}},
		{"nothing is learned of the others", []step{{10, "AAA", nil, "-"}, {12, "Laa", nil, "k"}, {16, "laa", nil, "k"}, {17, "laa", nil, "-"}}},
		{"all are lost at once", []step{
			{10, "AAA", nil, "-"}, {12, "LLa", nil, "k"}, {13, "llL", nil, "n"}, {40, "lll", nil, "n"}, {72, "lll", nil, "n"}, {73, "lll", nil, "-"}, {74, "lll", nil, "-"},
		}},
		{"they are heard again, one after the other", []step{{10, "AAA", nil, "-"}, {12, "LLL", nil, "n"}, {20, "All", nil, "k"}, {21, "AAl", nil, "k"}, {22, "AAA", nil, "-"}, {23, "LAA", nil, "-"}}},
		{"only one is heard again", []step{{10, "AAA", nil, "-"}, {12, "LLL", nil, "n"}, {20, "All", nil, "k"}, {24, "All", nil, "k"}, {25, "All", nil, "-"}}},
		{"it comes back", []step{{10, "AA", nil, "-"}, {12, "LL", nil, "n"}, {20, "Al", nil, "k"}, {22, "Ll", nil, "n"}}},
		{"one after the other, slowly", []step{{10, "AA", nil, "-"}, {12, "LA", nil, "-"}, {60, "lL", nil, "-"}}},
		{"a single server", []step{{10, "A", nil, "-"}, {12, "L", nil, "-"}}},
		{"the others were dead before", []step{{10, "--A", nil, "-"}, {12, "--L", nil, "-"}}},
		{"two of those that were alive", []step{{10, "-AA", nil, "-"}, {12, "-LL", nil, "n"}}},
		{"another director sees them too", []step{{11, "LL", sees(2, 0), "n"}, {300, "ll", sees(2, 0), "n"}}},
		{"another director does not see them either", []step{{11, "LL", sees(0, 2), "-"}, {12, "ll", nil, "-"}}},
		{"of two others one sees them", []step{{11, "LL", append(sees(0, 2), sees(1, 0)...), "n"}}},
		{"another director finds out later", []step{{11, "LL", sees(2, 0), "n"}, {13, "ll", sees(1, 1), "n"}, {14, "ll", sees(0, 2), "-"}, {15, "ll", nil, "-"}}},
		{"another director knows none of them", []step{{11, "LL", sees(0, 0), "n"}, {71, "ll", sees(0, 0), "-"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d healthcheck.Doubt
			heard, lost := make(map[int]time.Time), make(map[int]time.Time)
			for _, s := range tt.steps {
				now := time.Unix(1000, 0).Add(time.Duration(s.at) * time.Second)
				var hosts []healthcheck.Evidence
				for i, letter := range s.hosts {
					switch letter {
					case 'A':
						heard[i] = now
					case 'L':
						lost[i] = now
					}
					e := healthcheck.Evidence{Host: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Window: 5 * time.Second, Heard: heard[i]}
					switch letter {
					case 'A', 'a':
						e.Alive = true
					case 'L', 'l':
						e.Lost, e.Silence = lost[i], lost[i].Add(-time.Second)
					}
					hosts = append(hosts, e)
				}
				others := func(lost []healthcheck.Evidence) []healthcheck.Opinion {
					if len(lost) == 0 {
						t.Error("others are asked about nobody")
					}
					return s.others
				}
				got := d.Judge(now, time.Minute, hosts, others)
				word := "-"
				switch {
				case got.Now && got.Keep:
					word = "n"
				case got.Keep:
					word = "k"
				}
				if word != s.want {
					t.Errorf("at %d s with %s: got %s, want %s (%+v)", s.at, s.hosts, word, s.want, got)
				}
				if never := (&healthcheck.Doubt{}).Judge(now, 0, hosts, others); never.Keep {
					t.Error("doubt although it is turned off")
				}
			}
		})
	}
}
