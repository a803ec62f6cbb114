package director

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/packetfilter"
	"lvsha/ipvs"
	connsync "lvsha/sync"
	"lvsha/vrrp/vrrptest"
)

// lone is a director with its table, restarted as often as a test likes.
type lone struct {
	*testing.T
	table      *ipvs.Memory
	dir, state string
	text       string
	identity   config.Identity
	filter     func() (packetfilter.Kernel, error)
	prepare    func(healthcheck.Question) (healthcheck.ProbeFunc, error)

	// failing is the error of all that a process that is started does with addresses.
	failing error
	// settle is how long a start is given; zero is two seconds.
	settle time.Duration

	d     *Director
	stop  func()
	ended chan struct{} // closed when the process has ended
}

func newLone(t *testing.T, text string) *lone {
	return newLoneAs(t, text, config.Identity{})
}

func newLoneAs(t *testing.T, text string, identity config.Identity) *lone {
	m := &lone{T: t, table: ipvs.NewMemory(nil), dir: t.TempDir(), state: t.TempDir(), text: text, identity: identity}
	m.start()
	t.Cleanup(func() { m.stop() })
	return m
}

func (m *lone) start() {
	m.Helper()
	port := (&vrrptest.Segment{}).NewPort([6]byte{2})
	links := vrrptest.NewLinks(port)
	links.Fail(m.failing)
	daemons := connsync.NewMemory()
	d, err := New(Options{
		Load: func() (*config.Config, error) {
			return config.Parse("lvsha.toml", []byte(m.text), m.identity)
		},
		Dir: m.dir, State: m.state, Port: port, Links: links,
		IPVS: func() (ipvs.Kernel, error) { return m.table, nil },
		Sync: func() (connsync.Kernel, error) { return daemons, nil },
		Parse: func(name string, text []byte) (*config.Config, error) {
			return config.Parse(name, text, config.Identity{})
		},
		Filter: m.filter, Prepare: m.prepare, InMemory: true,
	})
	if err != nil {
		m.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.ended = make(chan struct{})
	go func(ended chan struct{}) {
		defer close(ended)
		if err := d.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			m.Errorf("Run: %v", err)
		}
	}(m.ended)
	ended := m.ended
	m.d, m.stop = d, func() { cancel(); <-ended }
	if m.settle == 0 {
		m.settle = 2 * time.Second
	}
	m.pass(m.settle)
}

// restart kills the process and starts another.
func (m *lone) restart() {
	m.Helper()
	m.stop()
	m.start()
}

func (m *lone) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (m *lone) reload() {
	m.Helper()
	if _, err := m.d.Reload(m.Context()); err != nil {
		m.Fatal(err)
	}
}

// ask asks for something and returns what the servers are then.
func (m *lone) ask(do, service, server string, weight int, limit time.Duration) string {
	m.Helper()
	done, err := m.d.Servers(m.Context(), control.ServersRequest{Do: do, Service: service, Server: server, Weight: weight, For: limit})
	if err != nil {
		return "error: " + err.Error()
	}
	var out []string
	for _, s := range done.Servers {
		out = append(out, fmt.Sprintf("%s %s %s", s.Service, s.Address, s.State))
	}
	return strings.Join(out, ", ")
}

// force is ask for what takes the last server out of use.
func (m *lone) force(do, service, server string, weight int) string {
	m.Helper()
	done, err := m.d.Servers(m.Context(), control.ServersRequest{Do: do, Service: service, Server: server, Weight: weight, Force: true})
	if err != nil {
		return "error: " + err.Error()
	}
	var out []string
	for _, s := range done.Servers {
		out = append(out, fmt.Sprintf("%s %s %s", s.Service, s.Address, s.State))
	}
	for _, w := range done.Warnings {
		out = append(out, "! "+w)
	}
	return strings.Join(out, ", ")
}

func (m *lone) has(want string) {
	m.Helper()
	if diff := cmp.Diff(want, m.servers()); diff != "" {
		m.Errorf("table (-want +got):\n%s", diff)
	}
}

// servers are those of the kernel's table, with their weights.
func (m *lone) servers() string {
	m.Helper()
	table, err := m.table.List()
	if err != nil {
		m.Fatal(err)
	}
	var got []string
	for _, s := range table {
		for _, d := range s.Destinations {
			got = append(got, fmt.Sprintf("%s>%s=%d", s.Key, d.Addr, d.Weight))
		}
	}
	return strings.Join(got, " ")
}

func (m *lone) connections(server string, active, inactive, templates int) {
	m.Helper()
	at := netip.MustParseAddrPort(server)
	table, err := m.table.List()
	if err != nil {
		m.Fatal(err)
	}
	for _, s := range table {
		m.table.SetConnections(s.Key, at, active, inactive, templates)
	}
}

func (m *lone) stateOf(server string) (state, reason string) {
	m.Helper()
	for _, s := range m.d.Status().Services {
		for _, shows := range s.Servers {
			if shows.Address == server {
				return shows.State, shows.Reason
			}
		}
	}
	m.Fatalf("no server %s", server)
	return "", ""
}

func (m *lone) is(server, want string) {
	m.Helper()
	if got, reason := m.stateOf(server); got != want {
		m.Errorf("%s is %s (%s), want %s", server, got, reason, want)
	}
}

const drained = `
[service.web]
listen = "192.0.2.10:80/tcp"
owner = "none"
forward = "nat"
[[service.web.server]]
address = "10.0.0.1:80"
[[service.web.server]]
address = "10.0.0.2:80"
weight = 3
`

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLone(t, drained)
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=3")
		m.connections("10.0.0.2:80", 5, 0, 0)
		if got := m.ask(control.DoDrain, "web", "10.0.0.2", 0, 0); got != "web 10.0.0.2:80 draining" {
			t.Errorf("asked: %s", got)
		}
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=0")
		m.pass(10 * time.Minute)
		m.is("10.0.0.2:80", "draining")
		// Neither a reload nor a restart nor another name ends it, and an empty kernel,
		// after a reboot, is no drain that is done.
		m.reload()
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=0")
		m.text = strings.ReplaceAll(drained, "service.web", "service.site")
		m.restart()
		m.is("10.0.0.2:80", "draining")
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=0")
		// Not while something is on its way out, nor while a client is remembered.
		for _, left := range [][3]int{{0, 2, 0}, {0, 0, 1}} {
			m.connections("10.0.0.2:80", left[0], left[1], left[2])
			m.pass(5 * time.Minute)
			m.is("10.0.0.2:80", "draining")
		}
		m.connections("10.0.0.2:80", 0, 0, 0)
		m.pass(5 * time.Second)
		m.is("10.0.0.2:80", "disabled")
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=1")
		m.restart()
		m.is("10.0.0.2:80", "disabled")
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=1")
		if got := m.ask(control.DoUndrain, "site", "10.0.0.2:80", 0, 0); got != "site 10.0.0.2:80 up" {
			t.Errorf("asked: %s", got)
		}
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=3")
		m.restart()
		m.is("10.0.0.2:80", "up")
	})
}

// TestDrainEnds: by its deadline, which a restart does not move, and by being cancelled.
func TestDrainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLone(t, drained)
		m.connections("10.0.0.1:80", 5, 5, 5)
		m.ask(control.DoDrain, "", "10.0.0.1:80", 0, time.Hour)
		m.pass(30 * time.Minute)
		m.restart()
		m.pass(29 * time.Minute)
		m.is("10.0.0.1:80", "draining")
		m.pass(2 * time.Minute)
		m.is("10.0.0.1:80", "disabled")
		if _, reason := m.stateOf("10.0.0.1:80"); !strings.Contains(reason, "15 connections were left") {
			t.Errorf("reason: %s", reason)
		}
		m.told("drain", "192.0.2.10:80/tcp: drained, and 15 connections are left")
		m.has("192.0.2.10:80/tcp>10.0.0.2:80=3")

		m.connections("10.0.0.2:80", 1, 0, 0)
		m.ask(control.DoDrain, "web", "10.0.0.2:80", 0, 0)
		m.pass(time.Minute)
		m.ask(control.DoUndrain, "web", "10.0.0.2:80", 0, 0)
		m.has("192.0.2.10:80/tcp>10.0.0.2:80=3")
	})
}

// TestDrainInOrder: what a hash points at stays in its place.
func TestDrainInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLone(t, strings.Replace(drained, "forward", "scheduler = \"mh\"\nforward", 1))
		m.ask(control.DoDrain, "web", "10.0.0.1:80", 0, 0)
		m.pass(5 * time.Second)
		m.is("10.0.0.1:80", "disabled")
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=0 192.0.2.10:80/tcp>10.0.0.2:80=3")
		// With a deadline too, which cuts nothing.
		m.ask(control.DoUndrain, "web", "10.0.0.1:80", 0, 0)
		m.connections("10.0.0.1:80", 4, 1, 0)
		m.ask(control.DoDrain, "web", "10.0.0.1:80", 0, time.Minute)
		m.pass(2 * time.Minute)
		m.counts("10.0.0.1:80", "4 1 0")
		m.told("drain", "192.0.2.10:80/tcp: drained, and 5 connections are left")
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=0 192.0.2.10:80/tcp>10.0.0.2:80=3")
	})
}

// TestDrainAll: the last server that drains keeps its connections beside a sorry server.
func TestDrainAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLone(t, strings.Replace(drained, "forward", "sorry = \"10.0.0.9:80\"\nforward", 1)+strings.NewReplacer("web", "dns", "80/tcp", "53/udp").Replace(drained))
		for _, at := range []string{"10.0.0.1:80", "10.0.0.2:80"} {
			m.connections(at, 1, 1, 0)
			got := m.ask(control.DoDrain, "", at, 0, 0)
			if refused := strings.Contains(got, "dns is in use then, and nobody gets its traffic; no server of service web is in use then, and its sorry server"); refused != (at == "10.0.0.2:80") {
				t.Errorf("asked: %q", got)
			}
			if got, want := m.force(control.DoDrain, "", at, 0), "dns "+at+" draining, web "+at+" draining"; !strings.HasPrefix(got, want) {
				t.Errorf("asked: %q, want %q", got, want)
			}
		}
		m.pass(time.Minute)
		m.has("192.0.2.10:53/udp>10.0.0.1:80=0 192.0.2.10:53/udp>10.0.0.2:80=0 192.0.2.10:80/tcp>10.0.0.1:80=0 192.0.2.10:80/tcp>10.0.0.2:80=0 192.0.2.10:80/tcp>10.0.0.9:80=1")
	})
}

// checkedBy has the servers of a text checked by files, in which "0" passes.
func checkedBy(t *testing.T, text string) (file string, set func(server, number string)) {
	t.Helper()
	dir := t.TempDir()
	set = func(server, number string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, server), []byte(number+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("10.0.0.1", "0")
	set("10.0.0.2", "0")
	check := fmt.Sprintf("check = { type = \"file\", file = \"%s/{server}\", interval = \"10s\", rise = 1, fall = 1 }\nforward", dir)
	return strings.Replace(text, "forward", check, 1), set
}

func (m *lone) counts(server, want string) {
	m.Helper()
	for _, s := range m.d.Status().Services {
		for _, shows := range s.Servers {
			if shows.Address != server {
				continue
			}
			if got := fmt.Sprintf("%d %d %d", shows.Active, shows.Inactive, shows.Templates); got != want {
				m.Errorf("%s has %s connections, want %s", server, got, want)
			}
		}
	}
}

// TestDrainChecked: a server that stands at weight 0 because that is wanted keeps its
// connections when another process begins, which has not probed it yet.
func TestDrainChecked(t *testing.T) {
	for _, c := range []struct{ name, do, from, to, state string }{
		{"a drain", control.DoDrain, "", "", "draining"},
		{"an operator's weight", control.DoWeight, "", "", "up"},
		{"the file's weight", "", "weight = 3", "weight = 0", "up"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				text, set := checkedBy(t, drained)
				m := newLone(t, text)
				if c.do != "" {
					m.ask(c.do, "web", "10.0.0.2", 0, 0)
				} else {
					m.text = strings.Replace(text, c.from, c.to, 1)
					m.reload()
				}
				m.connections("10.0.0.2:80", 5, 2, 1)
				m.pass(time.Minute)
				for range 2 {
					set("10.0.0.2", "nothing to be learned")
					m.restart()
					m.is("10.0.0.2:80", c.state)
					m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=0")
					m.counts("10.0.0.2:80", "5 2 1")
					if got := m.planned(m.text); got != "" {
						t.Errorf("a plan of the same: %s", got)
					}
					set("10.0.0.2", "0")
					m.pass(time.Minute)
					m.is("10.0.0.2:80", c.state)
					m.counts("10.0.0.2:80", "5 2 1")
				}
			})
		})
	}
}

// TestDrainUnknown: nothing is known of a server after a reboot, whose drain is not done
// for that.
func TestDrainUnknown(t *testing.T) {
	for _, initial := range []string{"probe", "down"} {
		t.Run(initial, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				text, set := checkedBy(t, strings.Replace(drained, "forward", fmt.Sprintf("initial = %q\nforward", initial), 1))
				m := newLone(t, strings.Replace(text, "rise = 1", "rise = 2", 1))
				m.pass(time.Minute)
				m.connections("10.0.0.2:80", 5, 0, 0)
				m.ask(control.DoDrain, "web", "10.0.0.2", 0, 0)
				m.stop()
				m.table = ipvs.NewMemory(nil)
				set("10.0.0.2", "nothing to be learned")
				m.start()
				m.pass(time.Minute)
				m.is("10.0.0.2:80", "draining")
				set("10.0.0.2", "0")
				for range 3000 { // until it is up
					if m.pass(10 * time.Millisecond); strings.Contains(m.table.String(), "10.0.0.2:80") {
						break
					}
					m.is("10.0.0.2:80", "draining")
				}
				m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=0")
				m.connections("10.0.0.2:80", 5, 0, 0) // another director told of them
				m.pass(time.Minute)
				m.is("10.0.0.2:80", "draining")
				m.connections("10.0.0.2:80", 0, 0, 0)
				m.pass(5 * time.Second)
				m.is("10.0.0.2:80", "disabled")
			})
		})
	}
}

func (m *lone) says(server, want string) {
	m.Helper()
	if _, reason := m.stateOf(server); !strings.Contains(reason, want) {
		m.Errorf("%s: %s, want %s", server, reason, want)
	}
}

// TestDrainFails: a drain goes on while its server fails for a while, and ends when it fails
// for longer, which is told apart.
func TestDrainFails(t *testing.T) {
	for _, c := range []struct {
		name, keys string
		limit      time.Duration
		lasts      time.Duration
		left       int
		want       string
	}{
		{"removed", "", 0, time.Minute, 5, "failed while it drained, done at "},
		{"removed, by the deadline", "", 50 * time.Second, 30 * time.Second, 5, "failed while it drained, done at "},
		{"quiesced", `on_fail = "quiesced"`, 0, 10 * time.Minute, 5, "failed while it drained, done at "},
		{"quiesced, by the deadline", `on_fail = "quiesced"`, time.Hour, 50 * time.Minute, 5, "failed while it drained, 5 connections were left at the deadline, "},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				text, set := checkedBy(t, strings.Replace(drained, "forward", c.keys+"\nforward", 1))
				m := newLone(t, text)
				m.pass(time.Minute)
				m.connections("10.0.0.2:80", 5, 0, 0)
				m.ask(control.DoDrain, "web", "10.0.0.2", 0, c.limit)
				if c.limit == 0 {
					set("10.0.0.2", "1")
					m.pass(30 * time.Second)
					m.is("10.0.0.2:80", "draining")
					m.says("10.0.0.2:80", "1 in the file, want 0")
					set("10.0.0.2", "0")
					m.pass(30 * time.Second)
					m.is("10.0.0.2:80", "draining")
					m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=0")
					m.connections("10.0.0.2:80", c.left, 0, 0)
				}
				set("10.0.0.2", "1")
				m.pass(c.lasts)
				m.is("10.0.0.2:80", "draining")
				if c.limit == 0 && c.keys != "" {
					m.connections("10.0.0.2:80", 0, 0, 0)
				}
				m.pass(15 * time.Minute)
				m.is("10.0.0.2:80", "disabled")
				m.says("10.0.0.2:80", "drained by an operator: "+c.want)
				m.told("drain", "192.0.2.10:80/tcp: failed while it drained")
				m.restart()
				m.is("10.0.0.2:80", "disabled")
				m.says("10.0.0.2:80", "drained by an operator: "+c.want)
			})
		})
	}
}

func (m *lone) told(kind, want string) {
	m.Helper()
	var all []string
	events, _ := m.d.Events(0)
	for _, e := range events {
		if e.Kind == kind {
			if all = append(all, e.Text); strings.Contains(e.Text, want) {
				return
			}
		}
	}
	m.Errorf("no event %q; there are: %q", want, all)
}

// TestGone: what operators asked for of a server or a service that has left the file is
// named, and may be ended.
func TestGone(t *testing.T) {
	const second = "[[service.web.server]]\naddress = \"10.0.0.2:80\"\nweight = 3\n"
	byMark := strings.NewReplacer("web", "shop", `"192.0.2.10:80/tcp"`, `"mark 5"`)
	for _, c := range []struct {
		name, text, later string
		service           string // as it is named then
		problems          []string
	}{
		{"a server", drained, strings.Replace(drained, second, "", 1), "web", []string{
			"server 10.0.0.2:80 of 192.0.2.10:80/tcp is not in the file any more, but an operator's drain of it is kept: lvsha undrain 192.0.2.10:80/tcp 10.0.0.2:80 ends it",
			"server 10.0.0.2:80 of 192.0.2.10:80/tcp is not in the file any more, but an operator's weight of it is kept: lvsha weight 192.0.2.10:80/tcp 10.0.0.2:80 --back ends it",
		}},
		{"a service", drained + byMark.Replace(drained), drained, "mark 5", []string{
			"server 10.0.0.2:80 of mark 5 is not in the file any more, but an operator's drain of it is kept: lvsha undrain 'mark 5' 10.0.0.2:80 ends it",
			"server 10.0.0.2:80 of mark 5 is not in the file any more, but an operator's weight of it is kept: lvsha weight 'mark 5' 10.0.0.2:80 --back ends it",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newLone(t, c.text)
				problems := func(want []string) {
					t.Helper()
					got := slices.DeleteFunc(m.d.Status().Problems, func(p string) bool { return !strings.Contains(p, "operator") })
					if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("problems (-want +got):\n%s", diff)
					}
				}
				before := "web"
				if c.service != "web" {
					before = "shop"
				}
				at := map[string]string{"web": "192.0.2.10:80/tcp", "shop": "mark 5"}[before]
				m.ask(control.DoWeight, before, "10.0.0.2", 7, 0)
				m.ask(control.DoDrain, before, "10.0.0.2", 0, 0)
				problems(nil)
				m.text = c.later
				m.reload()
				m.pass(5 * time.Minute)
				problems(c.problems)
				m.restart()
				problems(c.problems)
				// One that is back is drained as before.
				m.text = c.text
				m.reload()
				problems(nil)
				m.pass(time.Minute)
				m.text = c.later
				m.reload()
				if got := m.ask(control.DoDrain, c.service, "10.0.0.2:80", 0, 0); c.service != "web" && !strings.HasPrefix(got, "error: there is no service") {
					t.Errorf("drain: %s", got)
				}
				gone := "10.0.0.2:80 absent"
				if got, want := m.ask(control.DoUndrain, c.service, "10.0.0.2:80", 0, 0), at+" "+gone; got != want {
					t.Errorf("undrain: %q, want %q", got, want)
				}
				problems(c.problems[1:])
				if got, want := m.ask(control.DoUnweight, at, "10.0.0.2", 0, 0), at+" "+gone; got != want {
					t.Errorf("weight --back: %q, want %q", got, want)
				}
				problems(nil)
				if got := m.ask(control.DoUndrain, c.service, "10.0.0.2:80", 0, 0); !strings.HasPrefix(got, "error: ") {
					t.Errorf("undrain of nothing: %q", got)
				}
				m.text = c.text
				m.reload()
				m.restart()
				if want := at + ">10.0.0.2:80=3"; !strings.Contains(m.servers(), want) {
					t.Errorf("table %s, want %s", m.servers(), want)
				}
			})
		})
	}
}

func TestWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLone(t, drained)
		m.ask(control.DoWeight, "web", "10.0.0.1", 7, time.Hour)
		m.ask(control.DoWeight, "web", "10.0.0.2", 0, 0)
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=7 192.0.2.10:80/tcp>10.0.0.2:80=0")
		m.text = strings.Replace(drained, "weight = 3", "weight = 4", 1)
		m.reload()
		m.restart()
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=7 192.0.2.10:80/tcp>10.0.0.2:80=0")
		m.pass(time.Hour)
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=0")
		m.ask(control.DoUnweight, "web", "10.0.0.2", 0, 0)
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=4")
		for _, c := range []struct{ do, service, server, want string }{
			{control.DoDrain, "wbe", "10.0.0.1", `error: there is no service "wbe"; there are: web`},
			{control.DoDrain, "web", "10.0.0.7", "error: service web has no server 10.0.0.7; it has: 10.0.0.1:80, 10.0.0.2:80"},
			{control.DoDrain, "", "10.0.0.1:81", "error: no service has a server 10.0.0.1:81; there are: 10.0.0.1:80, 10.0.0.2:80"},
			{control.DoDrain, "web", "one", `error: want a server as ADDRESS or ADDRESS:PORT, got "one"`},
			{"dance", "web", "10.0.0.1", `error: this daemon cannot do "dance" to servers`},
		} {
			if got := m.ask(c.do, c.service, c.server, 0, 0); got != c.want {
				t.Errorf("%s %s %s: %q, want %q", c.do, c.service, c.server, got, c.want)
			}
		}
	})
}

// TestWeightUnderSlowStart: an operator's weight is what the operator said, however much
// slow_start multiplies the weights of the kernel by.
func TestWeightUnderSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLone(t, strings.Replace(drained, `forward = "nat"`, "forward = \"nat\"\nslow_start = \"10s\"", 1))
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=100 192.0.2.10:80/tcp>10.0.0.2:80=300")
		m.ask(control.DoWeight, "web", "10.0.0.1", 5000, 0)
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=65000 192.0.2.10:80/tcp>10.0.0.2:80=39")
		service := m.d.Status().Services[0]
		if s := service.Servers[0]; service.Scale != 13 || s.Share != 65000 || strings.Contains(s.Reason, "advised") {
			t.Errorf("scale %d, %+v", service.Scale, s)
		}
		m.ask(control.DoUnweight, "web", "10.0.0.1", 0, 0)
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=100 192.0.2.10:80/tcp>10.0.0.2:80=300")
	})
}

// TestDriftByHand: a weight 0 in the kernel that nobody asked for is no drain.
func TestDriftByHand(t *testing.T) {
	for _, drift := range []string{"repair", "respect"} {
		t.Run(drift, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newLone(t, strings.Replace(drained, "forward", fmt.Sprintf("drift = %q\nforward", drift), 1))
				by := func(weight int) {
					table, err := m.table.List()
					if err != nil {
						t.Fatal(err)
					}
					d := table[0].Destinations[1]
					d.Weight = weight
					if err := m.table.SetServer(table[0].Key, d); err != nil {
						t.Fatal(err)
					}
					m.pass(5 * time.Second)
				}
				by(0)
				m.is("10.0.0.2:80", "up")
				if drift == "repair" {
					m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=3")
					return
				}
				m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=0")
				said := `ipvs: server 10.0.0.2:80 of 192.0.2.10:80/tcp: weight 0 in the kernel, 3 wanted: somebody changed it, and drift = "respect" leaves it so until the next reload`
				if problems := m.d.Status().Problems; !slices.Contains(problems, said) {
					t.Errorf("problems: %q", problems)
				}
				// Another weight of the same server is somebody's wish too, and that of another is not touched.
				m.ask(control.DoWeight, "web", "10.0.0.1", 5, 0)
				m.has("192.0.2.10:80/tcp>10.0.0.1:80=5 192.0.2.10:80/tcp>10.0.0.2:80=0")
				by(9)
				m.has("192.0.2.10:80/tcp>10.0.0.1:80=5 192.0.2.10:80/tcp>10.0.0.2:80=9")
				m.ask(control.DoWeight, "web", "10.0.0.2", 6, 0)
				m.has("192.0.2.10:80/tcp>10.0.0.1:80=5 192.0.2.10:80/tcp>10.0.0.2:80=6")
				by(9)
				m.reload()
				m.has("192.0.2.10:80/tcp>10.0.0.1:80=5 192.0.2.10:80/tcp>10.0.0.2:80=6")
			})
		})
	}
}
