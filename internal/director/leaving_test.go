package director

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
	"lvsha/internal/control"
	"lvsha/internal/packetfilter"
	"lvsha/ipvs"
)

// ledger writes down each change of a table in memory with when it was made, counted from
// the time it was begun, and what was wrong with the table then.
type ledger struct {
	mu      sync.Mutex // guards all below
	begun   time.Time
	sorry   string
	weights map[string]map[string]string // by service and server
	lines   []string
	wrong   []string
}

var serverChange = regexp.MustCompile(`^\S+ (add server (\S+) to (.+) weight (\d+) .*|set weight of server (\S+) of (.+) from \d+ to (\d+)|remove server (\S+) from (.+))$`)

func (l *ledger) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.weights == nil {
		l.weights = make(map[string]map[string]string)
	}
	line := strings.TrimSpace(string(b))
	_, change, _ := strings.Cut(line, " ")
	if m := serverChange.FindStringSubmatch(line); m != nil {
		server, service, weight := m[2]+m[5]+m[8], m[3]+m[6]+m[9], m[4]+m[7]
		if l.weights[service] == nil {
			l.weights[service] = make(map[string]string)
		}
		l.weights[service][server] = weight
		if weight == "" {
			delete(l.weights[service], server)
		}
		serves := false
		for at, w := range l.weights[service] {
			serves = serves || w != "0"
			if !l.begun.IsZero() && at == l.sorry && w != "0" {
				l.wrong = append(l.wrong, "the sorry server is in use after: "+change)
			}
		}
		if !l.begun.IsZero() && !serves {
			l.wrong = append(l.wrong, service+" has no server after: "+change)
		}
	}
	if !l.begun.IsZero() {
		change, _, _ = strings.Cut(change, " forward ")
		l.lines = append(l.lines, fmt.Sprintf("%v %s", time.Since(l.begun).Round(100*time.Millisecond), change))
	}
	return len(b), nil
}

// begin forgets what was done so far.
func (l *ledger) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun, l.lines, l.wrong = time.Now(), nil, nil
}

func (l *ledger) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// probed answers probes: of the servers named, after their time that they are up or that
// they refuse, or with no time that nothing can be learned; of all others at once that they
// are up.
type probed struct {
	mu    sync.Mutex // guards what follows
	after map[string]time.Duration
	fails map[string]bool
}

func (p *probed) set(server string, after time.Duration, fails bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.after == nil {
		p.after, p.fails = make(map[string]time.Duration), make(map[string]bool)
	}
	p.after[server], p.fails[server] = after, fails
}

func (p *probed) prepare(healthcheck.Question) (healthcheck.ProbeFunc, error) {
	return func(ctx context.Context, t healthcheck.Target) (healthcheck.Answer, error) {
		p.mu.Lock()
		after, fails := p.after[t.Server.String()], p.fails[t.Server.String()]
		p.mu.Unlock()
		select {
		case <-time.After(after):
		case <-ctx.Done():
			return healthcheck.Answer{}, fmt.Errorf("nothing heard: %w", healthcheck.ErrTimeout)
		}
		if fails && after == 0 {
			return healthcheck.Answer{}, fmt.Errorf("%w: nobody knows", healthcheck.ErrInconclusive)
		}
		if fails {
			return healthcheck.Answer{}, errors.New("refused")
		}
		return healthcheck.Answer{Detail: "status 200"}, nil
	}, nil
}

func newProbed(t *testing.T, text string, servers *probed) (*lone, *ledger) {
	log := &ledger{sorry: "10.0.0.99:80"}
	m := &lone{T: t, table: ipvs.NewMemory(log), dir: t.TempDir(), state: t.TempDir(), text: text, prepare: servers.prepare}
	m.start()
	t.Cleanup(func() { m.stop() })
	return m, log
}

// quorumEvents are what was told of services' quorums.
func (m *lone) quorumEvents(after uint64) (out []string, last uint64) {
	events, _ := m.d.events.after(after)
	for _, e := range events {
		last = e.Seq
		if e.Kind == "service" {
			out = append(out, e.Text)
		}
	}
	return out, last
}

// service is a file with one service; each server is an address, with its weight after "*".
func serviceOf(keys string, servers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[service.web]\nlisten = \"192.0.2.10:80/tcp\"\nowner = \"none\"\nforward = \"nat\"\ncheck = { type = \"http\", timeout = \"500ms\" }\n%s\n", keys)
	for _, s := range servers {
		address, weight, weighted := strings.Cut(s, "*")
		fmt.Fprintf(&b, "[[service.web.server]]\naddress = %q\n", address)
		if weighted {
			fmt.Fprintf(&b, "weight = %s\n", weight)
		}
	}
	return b.String()
}

// TestReplacedServers: a file that has other servers than the one before leaves its service
// with somebody in use and with its quorum until the new ones have been asked, whether it
// is loaded again or by the next process, and what stays is not touched.
func TestReplacedServers(t *testing.T) {
	const a, b, c, d = "10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.1:8081", "10.0.0.2:8081"
	sorry := "sorry = \"10.0.0.99:80\"\n"
	for _, tt := range []struct {
		name        string
		keys        string // of the service
		was, next   []string
		nextKeys    string // where they are others
		slow, fails map[string]time.Duration
		want        string
		restarted   string // where it is another order
	}{
		{name: "both", was: []string{a, b}, next: []string{c, d}, slow: map[string]time.Duration{c: 200 * time.Millisecond, d: 400 * time.Millisecond}, want: `
0s set weight of server 10.0.0.2:8080 of 192.0.2.10:80/tcp from 1 to 0
0s remove server 10.0.0.2:8080 from 192.0.2.10:80/tcp
200ms add server 10.0.0.1:8081 to 192.0.2.10:80/tcp weight 1
200ms set weight of server 10.0.0.1:8080 of 192.0.2.10:80/tcp from 1 to 0
200ms remove server 10.0.0.1:8080 from 192.0.2.10:80/tcp
400ms add server 10.0.0.2:8081 to 192.0.2.10:80/tcp weight 1`},
		{name: "beside a sorry server", keys: sorry, was: []string{a}, next: []string{c}, slow: map[string]time.Duration{c: 300 * time.Millisecond}, want: `
300ms add server 10.0.0.1:8081 to 192.0.2.10:80/tcp weight 1
300ms set weight of server 10.0.0.1:8080 of 192.0.2.10:80/tcp from 1 to 0
300ms remove server 10.0.0.1:8080 from 192.0.2.10:80/tcp`},
		{name: "one of two that the quorum needs", keys: sorry + "quorum = 2", was: []string{a, b}, next: []string{a, d}, slow: map[string]time.Duration{d: 300 * time.Millisecond}, want: `
300ms add server 10.0.0.2:8081 to 192.0.2.10:80/tcp weight 1
300ms set weight of server 10.0.0.2:8080 of 192.0.2.10:80/tcp from 1 to 0
300ms remove server 10.0.0.2:8080 from 192.0.2.10:80/tcp`},
		{name: "the quorum needs both, one after the other", keys: sorry + "quorum = 2", was: []string{a, b}, next: []string{c, d}, slow: map[string]time.Duration{c: 200 * time.Millisecond, d: 400 * time.Millisecond}, want: `
200ms add server 10.0.0.1:8081 to 192.0.2.10:80/tcp weight 1
200ms set weight of server 10.0.0.2:8080 of 192.0.2.10:80/tcp from 1 to 0
200ms remove server 10.0.0.2:8080 from 192.0.2.10:80/tcp
400ms add server 10.0.0.2:8081 to 192.0.2.10:80/tcp weight 1
400ms set weight of server 10.0.0.1:8080 of 192.0.2.10:80/tcp from 1 to 0
400ms remove server 10.0.0.1:8080 from 192.0.2.10:80/tcp`},
		{name: "the heaviest are enough", keys: sorry + "quorum = 3", was: []string{a, b + "*3"}, next: []string{c, d + "*3"}, slow: map[string]time.Duration{c: 200 * time.Millisecond, d: 400 * time.Millisecond}, want: `
0s set weight of server 10.0.0.1:8080 of 192.0.2.10:80/tcp from 1 to 0
0s remove server 10.0.0.1:8080 from 192.0.2.10:80/tcp
200ms add server 10.0.0.1:8081 to 192.0.2.10:80/tcp weight 1
400ms add server 10.0.0.2:8081 to 192.0.2.10:80/tcp weight 3
400ms set weight of server 10.0.0.2:8080 of 192.0.2.10:80/tcp from 3 to 0
400ms remove server 10.0.0.2:8080 from 192.0.2.10:80/tcp`},
		{name: "the quorum held by its hysteresis", keys: sorry + "quorum = 2\nhysteresis = 1", was: []string{a, b, "10.0.0.3:80"}, next: []string{c, d, "10.0.0.3:80"},
			slow: map[string]time.Duration{c: 200 * time.Millisecond, d: 300 * time.Millisecond}, want: `
0s set weight of server 10.0.0.1:8080 of 192.0.2.10:80/tcp from 1 to 0
0s set weight of server 10.0.0.2:8080 of 192.0.2.10:80/tcp from 1 to 0
0s remove server 10.0.0.1:8080 from 192.0.2.10:80/tcp
0s remove server 10.0.0.2:8080 from 192.0.2.10:80/tcp
200ms add server 10.0.0.1:8081 to 192.0.2.10:80/tcp weight 1
300ms add server 10.0.0.2:8081 to 192.0.2.10:80/tcp weight 1`},
		{name: "a quorum that only the new one makes", keys: sorry, was: []string{a}, next: []string{a, d}, nextKeys: sorry + "quorum = 2", slow: map[string]time.Duration{d: 300 * time.Millisecond}, want: `
300ms add server 10.0.0.2:8081 to 192.0.2.10:80/tcp weight 1`},
		{name: "the new ones refuse", was: []string{a}, next: []string{c, d}, fails: map[string]time.Duration{c: 100 * time.Millisecond, d: 200 * time.Millisecond}, want: `
200ms set weight of server 10.0.0.1:8080 of 192.0.2.10:80/tcp from 1 to 0
200ms remove server 10.0.0.1:8080 from 192.0.2.10:80/tcp
! 192.0.2.10:80/tcp has no server after: set weight of server 10.0.0.1:8080 of 192.0.2.10:80/tcp from 1 to 0
! 192.0.2.10:80/tcp has no server after: remove server 10.0.0.1:8080 from 192.0.2.10:80/tcp
! quorum lost: 0 of 2 servers up, their weights add up to 0`},
		{name: "new ones start as down", keys: "initial = \"down\"", was: []string{a}, next: []string{c}, slow: map[string]time.Duration{c: 100 * time.Millisecond}, want: `
PASSED add server 10.0.0.1:8081 to 192.0.2.10:80/tcp weight 1
PASSED set weight of server 10.0.0.1:8080 of 192.0.2.10:80/tcp from 1 to 0
PASSED remove server 10.0.0.1:8080 from 192.0.2.10:80/tcp`},
		{name: "a hash", keys: "scheduler = \"mh\"\n" + sorry, was: []string{a}, next: []string{c}, slow: map[string]time.Duration{c: 300 * time.Millisecond}, want: `
0s add server 10.0.0.1:8081 to 192.0.2.10:80/tcp weight 0
0s remove server 10.0.0.99:80 from 192.0.2.10:80/tcp
0s add server 10.0.0.99:80 to 192.0.2.10:80/tcp weight 0
300ms set weight of server 10.0.0.1:8081 of 192.0.2.10:80/tcp from 0 to 1
300ms set weight of server 10.0.0.1:8080 of 192.0.2.10:80/tcp from 1 to 0
300ms remove server 10.0.0.1:8080 from 192.0.2.10:80/tcp`},
		{name: "none is new", was: []string{a, b}, next: []string{a}, want: `
0s set weight of server 10.0.0.2:8080 of 192.0.2.10:80/tcp from 1 to 0
0s remove server 10.0.0.2:8080 from 192.0.2.10:80/tcp`},
	} {
		for _, how := range []string{"reload", "restart"} {
			t.Run(tt.name+", "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					servers := &probed{}
					for server, after := range tt.slow {
						servers.set(server, after, false)
					}
					for server, after := range tt.fails {
						servers.set(server, after, true)
					}
					m, log := newProbed(t, serviceOf(tt.keys, tt.was...), servers)
					m.pass(10 * time.Second)
					keys := tt.keys
					if tt.nextKeys != "" {
						keys = tt.nextKeys
					}
					m.text = serviceOf(keys, tt.next...)
					_, last := m.quorumEvents(0)
					log.begin()
					if how == "reload" {
						m.reload()
					} else {
						m.restart()
						last = 0
					}
					m.pass(20 * time.Second)
					events, _ := m.quorumEvents(last)
					got := strings.Split(log.text(), "\n")
					for _, w := range log.wrong {
						got = append(got, "! "+w)
					}
					for _, e := range events {
						if !strings.HasPrefix(e, "quorum gained") || how == "reload" {
							got = append(got, "! "+e)
						}
					}
					want := strings.Split(strings.TrimSpace(tt.want), "\n")
					for i := range want {
						if rest, ok := strings.CutPrefix(want[i], "PASSED "); ok && i < len(got) {
							at, _, _ := strings.Cut(got[i], " ")
							if d, err := time.ParseDuration(at); err != nil || d < 500*time.Millisecond || d > 3500*time.Millisecond {
								t.Errorf("%s: want it after two probes", got[i])
							}
							want[i] = at + " " + rest
						}
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				})
			})
		}
	}
}

// TestUndecidedReplacement: while nothing can be learned of the new ones, who leaves stays
// for the timeout and a second, and then what is known decides. Another file meanwhile begins that time anew for what it brings.
func TestUndecidedReplacement(t *testing.T) {
	const a, c, d = "10.0.0.1:8080", "10.0.0.1:8081", "10.0.0.2:8081"
	const gone = `set weight of server 10.0.0.1:8080 of 192.0.2.10:80/tcp from 1 to 0
%[1]v remove server 10.0.0.1:8080 from 192.0.2.10:80/tcp`
	for _, tt := range []struct {
		name  string
		files [][]string // a second apart, the first one as it was
		want  string
	}{
		{"one file", [][]string{{a}, {c}}, fmt.Sprintf("%[1]v "+gone, 1500*time.Millisecond)},
		{"another one", [][]string{{a}, {c}, {d}}, fmt.Sprintf("%[1]v "+gone, 2500*time.Millisecond)},
		{"and back", [][]string{{a}, {c}, {a}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				servers := &probed{}
				servers.set(c, 0, true)
				servers.set(d, 0, true)
				m, log := newProbed(t, serviceOf("", tt.files[0]...), servers)
				m.pass(10 * time.Second)
				log.begin()
				for i, file := range tt.files[1:] {
					if i > 0 {
						m.pass(time.Second)
					}
					m.text = serviceOf("", file...)
					m.reload()
				}
				state, reason := m.stateOf(a)
				if state != "up" || len(tt.want) > 0 && !strings.Contains(reason, "no longer in the file") {
					t.Errorf("%s is %s (%s)", a, state, reason)
				}
				if len(tt.want) == 0 {
					m.pass(10 * time.Second)
					if state, _ := m.stateOf(a); state != "up" || log.text() != "" {
						t.Errorf("%s is %s (%s):\n%s", a, state, reason, log.text())
					}
					return
				}
				if got := m.ask(control.DoDrain, "web", a, 0, 0); !strings.Contains(got, "has no server") {
					t.Errorf("draining one that leaves: %s", got)
				}
				m.pass(10 * time.Second)
				if diff := cmp.Diff(tt.want, log.text()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestPlanOfReplacedServers: a plan says what stays for how long, and what is cut then.
func TestPlanOfReplacedServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newProbed(t, serviceOf("", "10.0.0.1:8080", "10.0.0.2:8080"), &probed{})
		m.connections("10.0.0.1:8080", 2, 0, 0)
		m.connections("10.0.0.2:8080", 3, 0, 0)
		for keys, want := range map[string]string{
			"": `service web: servers
check 10.0.0.1:8081 http /: new
check 10.0.0.1:8080 http /: gone
check 10.0.0.2:8080 http /: gone
add server 10.0.0.1:8081 to 192.0.2.10:80/tcp weight 1 forward nat (0, 0) when its checks pass
set weight of server 10.0.0.1:8080 of 192.0.2.10:80/tcp from 1 to 0 (0, 0) when those that take its place have their first verdict, after 1.5s at the latest
set weight of server 10.0.0.2:8080 of 192.0.2.10:80/tcp from 1 to 0 (0, 0) 
remove server 10.0.0.1:8080 from 192.0.2.10:80/tcp (2, 0) when those that take its place have their first verdict, after 1.5s at the latest
remove server 10.0.0.2:8080 from 192.0.2.10:80/tcp (3, 0) 
cuts 5, 0
`,
			"initial = \"up\"": `service web: servers, initial unknown -> up
check 10.0.0.1:8081 http /: new
check 10.0.0.1:8080 http /: gone
check 10.0.0.2:8080 http /: gone
add server 10.0.0.1:8081 to 192.0.2.10:80/tcp weight 1 forward nat (0, 0) 
set weight of server 10.0.0.1:8080 of 192.0.2.10:80/tcp from 1 to 0 (0, 0) 
set weight of server 10.0.0.2:8080 of 192.0.2.10:80/tcp from 1 to 0 (0, 0) 
remove server 10.0.0.1:8080 from 192.0.2.10:80/tcp (2, 0) 
remove server 10.0.0.2:8080 from 192.0.2.10:80/tcp (3, 0) 
cuts 5, 0
`,
		} {
			if diff := cmp.Diff(want, m.planned(serviceOf(keys, "10.0.0.1:8081"))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", keys, diff)
			}
		}
	})
}

// TestLeavesInFullNAT: the source addresses of the connections with a server that leaves go
// when it does.
func TestLeavesInFullNAT(t *testing.T) {
	file := func(server string) string {
		return "[service.web]\nlisten = \"192.0.2.10:80/tcp\"\nowner = \"none\"\nforward = \"fullnat\"\nsnat = \"10.1.0.254\"\ncheck = { type = \"http\" }\n[[service.web.server]]\naddress = \"" + server + "\"\n"
	}
	for _, how := range []string{"reload", "restart"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				servers := &probed{}
				servers.set("10.9.0.22:80", 300*time.Millisecond, false)
				log := &ledger{}
				m := &lone{T: t, table: ipvs.NewMemory(log), dir: t.TempDir(), state: t.TempDir(), text: file("10.9.0.21"), prepare: servers.prepare}
				filter := packetfilter.NewMemory()
				m.filter = func() (packetfilter.Kernel, error) { return filter, nil }
				m.settle = 200 * time.Millisecond
				m.start()
				t.Cleanup(func() { m.stop() })
				log.begin()
				m.text = file("10.9.0.22")
				if how == "reload" {
					m.reload()
				} else {
					m.restart()
				}
				m.d.mu.Lock()
				during := m.d.rules()
				m.d.mu.Unlock()
				m.pass(10 * time.Second)
				m.d.mu.Lock()
				after := m.d.rules()
				m.d.mu.Unlock()
				if len(during.Sources) != 2 || len(after.Sources) != 1 {
					t.Errorf("sources %v, then %v", during.Sources, after.Sources)
				}
				if got := m.d.filter.Snapshot(); got.State != "ok" {
					t.Errorf("packet filter: %+v", got)
				}
				if len(log.wrong) > 0 {
					t.Errorf("%q\n%s", log.wrong, log.text())
				}
			})
		})
	}
}

// TestRestartWithinHysteresis: a quorum that only its hysteresis holds, and a sorry server
// in use, are the same for the next process.
func TestRestartWithinHysteresis(t *testing.T) {
	for _, tt := range []struct{ name, fail, fail2, want string }{
		{"held", "10.0.0.1:80", "", "192.0.2.10:80/tcp>10.0.0.2:80=1 192.0.2.10:80/tcp>10.0.0.3:80=1"},
		{"lost", "10.0.0.1:80", "10.0.0.2:80", "192.0.2.10:80/tcp>10.0.0.99:80=1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				servers := &probed{}
				m, log := newProbed(t, serviceOf("sorry = \"10.0.0.99:80\"\nquorum = 3\nhysteresis = 1", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"), servers)
				servers.set("10.0.0.4:80", time.Millisecond, true)
				servers.set(tt.fail, time.Millisecond, true)
				if tt.fail2 != "" {
					servers.set(tt.fail2, time.Millisecond, true)
				}
				m.pass(time.Minute)
				m.has(tt.want)
				log.begin()
				m.restart()
				m.pass(time.Minute)
				if got := log.text(); got != "" {
					t.Errorf("the restart changed the table:\n%s", got)
				}
			})
		})
	}
}
