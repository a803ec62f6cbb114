package director

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/internal/control"
)

// shows is a service in the status, in a line, with the problems that name it.
func (m *lone) shows(name string) string {
	m.Helper()
	status := m.d.Status()
	var out []string
	for _, s := range status.Services {
		if s.Name == name {
			out = append(out, s.State+": "+s.Reason)
		}
	}
	for _, p := range status.Problems {
		if strings.HasPrefix(p, "service "+name+":") {
			out = append(out, "! "+p)
		}
	}
	return strings.Join(out, "\n")
}

// TestLastServerInUse: what would leave a service without a server in use is refused, and
// changes nothing, unless it is forced; state and problems go by who gets traffic then.
func TestLastServerInUse(t *testing.T) {
	const a, b = "10.0.0.1:80", "10.0.0.2:80"
	type step struct{ do, server string }
	for _, tt := range []struct {
		name    string
		keys    string
		weights []string
		first   *step // is not refused
		last    step
		refused string
		state   string
	}{
		{"drained one after the other", "", []string{a, b}, &step{control.DoDrain, a}, step{control.DoDrain, b}, "nobody gets its traffic",
			"down: nobody gets its traffic; 2 of 2 servers up (2 drained)\n! service web: DOWN: nobody gets its traffic; 2 of 2 servers up (2 drained)"},
		{"one drained, one of weight 0", "", []string{a, b}, &step{control.DoWeight, a}, step{control.DoDrain, b}, "nobody gets its traffic",
			"down: nobody gets its traffic; 2 of 2 servers up (1 drained, 1 of weight 0)\n! service web: DOWN: nobody gets its traffic; 2 of 2 servers up (1 drained, 1 of weight 0)"},
		{"of weight 0 in the file", "", []string{a + "*0", b}, nil, step{control.DoWeight, b}, "nobody gets its traffic",
			"down: nobody gets its traffic; 2 of 2 servers up (2 of weight 0)\n! service web: DOWN: nobody gets its traffic; 2 of 2 servers up (2 of weight 0)"},
		{"beside a sorry server", "sorry = \"10.0.0.99:80\"", []string{a, b}, &step{control.DoDrain, a}, step{control.DoDrain, b}, "its sorry server gets all of its traffic",
			"sorry: 2 of 2 servers up (2 drained), which is no quorum: the sorry server answers\n! service web: SORRY: 2 of 2 servers up (2 drained), which is no quorum: the sorry server answers"},
		{"the one that makes the quorum", "sorry = \"10.0.0.99:80\"\nquorum = 2", []string{a, b}, nil, step{control.DoDrain, b}, "its sorry server gets all of its traffic",
			"sorry: 2 of 2 servers up (1 drained), which is no quorum: the sorry server answers\n! service web: no quorum: the weights of the servers that are up add up to 1, want 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, log := newProbed(t, serviceOf(tt.keys, tt.weights...), &probed{})
				log.sorry = ""
				m.pass(5 * time.Second)
				m.connections(a, 1, 0, 0) // so that a drain of it goes on
				if tt.first != nil {
					if got := m.ask(tt.first.do, "web", tt.first.server, 0, 0); strings.HasPrefix(got, "error") {
						t.Errorf("the first: %s", got)
					}
					if got := m.shows("web"); !strings.HasPrefix(got, "up: 2 of 2 servers up (1 ") || strings.Contains(got, "!") {
						t.Errorf("status %s", got)
					}
				}
				log.begin()
				before := len(m.d.overrides.read().Servers)
				for _, service := range []string{"web", ""} {
					if got := m.ask(tt.last.do, service, tt.last.server, 0, 0); !strings.Contains(got, "no server of service web is in use then, and "+tt.refused+"; nothing was changed") {
						t.Errorf("the last: %s", got)
					}
				}
				m.pass(5 * time.Second)
				if got := log.text(); got != "" || len(m.d.overrides.read().Servers) != before {
					t.Errorf("what was refused did this:\n%s", got)
				}
				if got := m.force(tt.last.do, "web", tt.last.server, 0); !strings.Contains(got, "! no server of service web is in use then, and "+tt.refused) {
					t.Errorf("forced: %s", got)
				}
				if got := m.shows("web"); got != tt.state {
					t.Errorf("status\n%s\nwant\n%s", got, tt.state)
				}
				// Nobody is worse off by more of it, nor by its end.
				for _, at := range []string{a, b} {
					for _, do := range []string{control.DoDrain, control.DoUndrain, control.DoUnweight} {
						if got := m.ask(do, "web", at, 0, 0); strings.HasPrefix(got, "error") && do != control.DoDrain {
							t.Errorf("%s of %s: %s", do, at, got)
						}
					}
				}
			})
		})
	}
}

// TestStateOfTheWorstAddress: a service with two addresses is down when one of them has
// nobody, and says which; a service without a server that is up is a problem.
func TestStateOfTheWorstAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := &probed{}
		servers.set("10.0.0.1:81", time.Millisecond, true)
		servers.set("10.0.0.2:81", time.Millisecond, true)
		text := strings.Replace(serviceOf("", "10.0.0.1", "10.0.0.2"), "listen = \"192.0.2.10:80/tcp\"", "listen = [\"192.0.2.10:80/tcp\", \"192.0.2.10:81/tcp\"]", 1)
		m, _ := newProbed(t, text, servers)
		m.pass(5 * time.Second)
		want := "down: nobody gets the traffic of 192.0.2.10:81/tcp; 2 of 4 servers up\n! service web: DOWN: nobody gets the traffic of 192.0.2.10:81/tcp; 2 of 4 servers up"
		if got := m.shows("web"); got != want {
			t.Errorf("status\n%s\nwant\n%s", got, want)
		}
		servers.set("10.0.0.1:80", time.Millisecond, true)
		servers.set("10.0.0.2:80", time.Millisecond, true)
		m.pass(time.Minute)
		if got, want := m.shows("web"), "down: no server is up\n! service web: DOWN: no server is up"; got != want {
			t.Errorf("status\n%s\nwant\n%s", got, want)
		}
	})
}
