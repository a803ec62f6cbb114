package checks_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// memory has the daemon keep its table to itself, with a log of the changes.
var memory = []string{"--kernel=memory", "--kernel-log", rig.KernelLog}

// TestJudgment: one director and three servers that do as they are told.
//
//	lvs1    .1 ──┐
//	servers .21 ─┼── segment 10.0.0.0/24        .22 and .23 are on the same machine
func TestJudgment(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		test func(*rig.Rig, *rig.Backends)
	}{
		{"combining", combining}, {"quorum", quorum}, {"slow start", slowStart}, {"agent", agent}, {"switches", switches},
		{"max_down", maxDown}, {"panic", panics}, {"damping", damping}, {"initial", initial}, {"BFD", bfdCheck}, {"detail", detail},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			r := rig.New(t)
			tt.test(r, r.Backends(r.Segment, "10.0.0.21/24", "10.0.0.22/24", "10.0.0.23/24", "10.0.0.99/24"))
		})
	}
}

// combining: all, any and points of checks; what several services ask of one server
// is asked once; a service follows another one.
func combining(r *rig.Rig, b *rig.Backends) {
	check := func(port, weight int) string {
		return fmt.Sprintf("{ type = \"http\", port = %d, weight = %d, interval = \"1s\", rise = 1, fall = 1 }", port, weight)
	}
	service := func(name string, port int, keys string) string {
		return fmt.Sprintf("[service.%s]\nlisten = \"10.0.0.100:%d/tcp\"\nowner = \"none\"\nforward = \"nat\"\n%s\n", name, port, keys) +
			rig.ServersFile(name, "10.0.0.21:8000")
	}
	checks := "check = [" + check(81, 1) + ", " + check(82, 1) + "]\n"
	file := service("all", 1001, checks) + service("any", 1002, checks+`require = "any"`) +
		service("points", 1003, "check = ["+check(81, 2)+", "+check(82, 1)+", "+check(83, 1)+"]\nrequire = 3") +
		strings.Replace(service("follower", 1004, `follow = "all"`), ":8000", ":8443", 1)
	b.Serve("10.0.0.21:81", "10.0.0.21:82", "10.0.0.21:83")
	d := r.Lvsha(r.LVS[0], file, memory...)
	for _, s := range []string{"all", "any", "points"} {
		r.ServerIs(d, s, "10.0.0.21:8000", "up", "status 200")
	}
	r.ServerIs(d, "follower", "10.0.0.21:8443", "up", "2 of 2 checks up, want all: status 200")

	b.At("10.0.0.21:82").Status.Store(http.StatusServiceUnavailable)
	r.ServerIs(d, "all", "10.0.0.21:8000", "down", "1 of 2 checks up, want all: status 503, want 200-299")
	r.ServerIs(d, "follower", "10.0.0.21:8443", "down", "1 of 2 checks up, want all: status 503, want 200-299")
	r.ServerIs(d, "any", "10.0.0.21:8000", "up", "1 of 2 checks up, want any: status 200")
	r.ServerIs(d, "points", "10.0.0.21:8000", "up", "3 of 4 points of checks up, want 3: status 200")
	r.PoolIs(r.LVS[0], "10.0.0.100:1001/tcp")
	r.PoolIs(r.LVS[0], "10.0.0.100:1004/tcp")
	r.PoolIs(r.LVS[0], "10.0.0.100:1002/tcp", "10.0.0.21:8000=1")
	b.Kill("10.0.0.21:83")
	r.ServerIs(d, "points", "10.0.0.21:8000", "down", "2 of 4 points of checks up, want 3: status 503, want 200-299")
	r.PoolIs(r.LVS[0], "10.0.0.100:1003/tcp")

	// Four services ask what is answered at port 81; each question is one connection.
	var probes uint64
	r.Eventually("eight probes", 30*time.Second, func() bool {
		s, err := d.Status()
		r.Check(err)
		for _, c := range rig.Server(s, "follower", "10.0.0.21:8443").Checks {
			if strings.HasPrefix(c.Check, "10.0.0.21:81 ") {
				probes = c.Probes
			}
		}
		return probes >= 8
	})
	if n := uint64(b.At("10.0.0.21:81").Accepted.Load()); n < probes || n > probes+2 {
		r.Errorf("%d connections for %d probes", n, probes)
	}
}

// quorum: gained and lost with hysteresis; the sorry server; programs and the FIFO.
func quorum(r *rig.Rig, b *rig.Backends) {
	servers := []string{"10.0.0.21:80", "10.0.0.22:80", "10.0.0.23:80"}
	file := `
[director.lvs1]
address = "10.0.0.1"
[service.web]
listen     = "10.0.0.100:80/tcp"
owner      = "none"
forward    = "nat"
quorum     = 2
hysteresis = 1
sorry      = "10.0.0.99:80"
check      = { type = "http", interval = "1s", rise = 1, fall = 1 }
` + rig.ServersFile("web", servers...) + `
[service.web.notify]
up   = "/run/up.sh told up"
down = ["/run/down.sh", "told down"]
any  = "/run/any.sh own"
[notify]
fifo = "/run/notify.fifo"
`
	h := r.LVS[0]
	reader := r.Hooks(h)
	script := "#!/bin/sh\necho \"$0 $# $*\" >> /run/notify.log\ncat >> /run/notify.json\n"
	for _, name := range []string{"/run/up.sh", "/run/down.sh", "/run/any.sh"} {
		r.Check(h.WriteFile(name, []byte(script), 0o755))
	}
	d := r.Lvsha(h, file, memory...)
	const service = "10.0.0.100:80/tcp"
	logged := func(n int, want ...string) {
		r.Helper()
		var got []string
		if _, err := lab.Eventually("", 30*time.Second, func() bool {
			got = r.Logged(h)
			return len(got) >= n && !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(got[max(0, n-2):], w) })
		}); err != nil {
			r.Fatalf("programs were told %q, want %q at the end", got, want)
		}
	}
	up := []string{"/run/up.sh 2 told up", "/run/any.sh 5 own VS web UP 0"}
	down := []string{"/run/down.sh 1 told down", "/run/any.sh 5 own VS web DOWN 0"}

	r.PoolIs(h, service, "10.0.0.99:80=1")
	logged(2, down...)
	b.Serve(servers[0])
	r.ServerIs(d, "web", servers[0], "up", "status 200")
	b.Serve(servers[1])
	r.ServerIs(d, "web", servers[1], "up", "status 200") // the quorum, without hysteresis
	r.Printed(h, 15*time.Second, "service web: SORRY: 2 of 3 servers up, which is no quorum: the sorry server answers",
		"the weights of the servers that are up add up to 2, want 3", "10.0.0.99:80 (sorry)", "in use", "1 (not used)")
	r.PoolIs(h, service, "10.0.0.99:80=1")
	b.Serve(servers[2])
	r.PoolIs(h, service, "10.0.0.21:80=1", "10.0.0.22:80=1", "10.0.0.23:80=1")
	logged(4, up...)
	b.Kill(servers[0])
	r.PoolIs(h, service, "10.0.0.22:80=1", "10.0.0.23:80=1")
	b.Kill(servers[1])
	r.PoolIs(h, service, "10.0.0.23:80=1")
	r.Printed(h, 15*time.Second, "service web: UP: 1 of 3 servers up", "standby")
	b.Kill(servers[2])
	r.PoolIs(h, service, "10.0.0.99:80=1")
	logged(6, down...)
	if got := r.Logged(h); len(got) != 6 {
		r.Errorf("programs were told %q", got)
	}
	input, err := h.ReadFile("/run/notify.json")
	r.Check(err)
	for _, want := range []string{
		`"object":"service","name":"web","from":"down","to":"up","reason":"3 of 3 servers up, their weights add up to 3","priority":0,`,
		`"director":"lvs1","addresses":["[10.0.0.100]:tcp:80"]}`,
		`"from":"up","to":"down","reason":"0 of 3 servers up, their weights add up to 0"`,
	} {
		if !strings.Contains(string(input), want) {
			r.Errorf("standard input has no %s:\n%s", want, input)
		}
	}
	want := []string{"VS [10.0.0.100]:tcp:80 DOWN", "VS [10.0.0.100]:tcp:80 UP", "VS [10.0.0.100]:tcp:80 DOWN"}
	r.Eventually("lines in the FIFO", 30*time.Second, func() bool { return slices.Equal(want, rig.InFIFO(reader)) })
}

// slowStart: the share of a server that was seen down grows, after a restart of the
// daemon it does not; schedulers that hash are refused.
func slowStart(r *rig.Rig, b *rig.Backends) {
	file := `
[service.web]
listen     = "10.0.0.100:80/tcp"
owner      = "none"
forward    = "nat"
slow_start = "4s"
check      = { type = "http", interval = "1s", rise = 1, fall = 1 }
` + rig.ServersFile("web", "10.0.0.21:80", "10.0.0.22:80")
	h := r.LVS[0]
	for _, scheduler := range []string{"sh", "mh"} {
		r.Check(h.WriteFile("/run/hash.toml", []byte(strings.Replace(file, "forward ", "scheduler = \""+scheduler+"\"\nforward ", 1)), 0o644))
		if _, err := h.Run(r.Binary, "check", "-c", "/run/hash.toml"); err == nil ||
			!strings.Contains(err.Error(), "service.web.slow_start: "+scheduler+" spreads clients by a hash that each step would change") {
			r.Errorf("check of slow_start with %s: %v", scheduler, err)
		}
	}
	b.Serve("10.0.0.21:80", "10.0.0.22:80")
	d := r.Lvsha(h, file, memory...)
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:80=100", "10.0.0.22:80=100")
	b.Kill("10.0.0.22:80")
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:80=100")
	b.Serve("10.0.0.22:80")
	r.Printed(h, 15*time.Second, "1 (now 0.", "slow start: ", " % of its share, all of it in ")
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:80=100", "10.0.0.22:80=100")
	var weights []int
	for _, line := range r.KernelLines(h, "10.0.0.22:80") {
		var from, to int
		if rig.Scan(line, "set weight of server 10.0.0.22:80 of 10.0.0.100:80/tcp from %d to %d", &from, &to) && to > 0 {
			if from >= to {
				r.Errorf("%s", line)
			}
			weights = append(weights, to)
		}
	}
	if len(weights) != 4 {
		r.Errorf("weights %v, want four steps", weights)
	}
	_, err := d.End(syscall.SIGUSR2)
	r.Check(err)
	_, err = h.Run("rm", rig.KernelLog)
	r.Check(err)
	r.Again(h, memory...)
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:80=100", "10.0.0.22:80=100")
	if got := r.KernelLines(h, "set weight"); len(got) > 0 {
		r.Errorf("after a restart: %q", got)
	}
}

// agent: what an agent says is done, and stays when it is not heard.
func agent(r *rig.Rig, b *rig.Backends) {
	file := `
[service.web]
listen  = "10.0.0.100:80/tcp"
owner   = "none"
forward = "nat"
check   = [
  { type = "http", interval = "1s", rise = 1, fall = 1 },
  { type = "agent", port = 9777, interval = "1s", rise = 1, fall = 1 },
]
[[service.web.server]]
address = "10.0.0.21:80"
weight  = 10
`
	h := r.LVS[0]
	b.Serve("10.0.0.21:80")
	b.Agent("10.0.0.21:9777", "ready up 100%")
	d := r.Lvsha(h, file, memory...)
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:80=10")
	say := func(line string) { b.At("10.0.0.21:9777").Line.Store(&line) }
	say("50%")
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:80=5")
	r.Printed(h, 15*time.Second, "10 (now 5)", "weight 5 instead of 10, as it was advised")
	say("drain # backup runs")
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:80=0")
	r.ServerIs(d, "web", "10.0.0.21:80", "draining", "asks to be drained")
	say("maint")
	r.PoolIs(h, "10.0.0.100:80/tcp")
	r.ServerIs(d, "web", "10.0.0.21:80", "disabled", "asks for maintenance")
	say("ready weight:7")
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:80=7")
	say("down # disk is full")
	r.ServerIs(d, "web", "10.0.0.21:80", "down", "agent says down # disk is full")
	r.PoolIs(h, "10.0.0.100:80/tcp")
	b.Kill("10.0.0.21:9777")
	r.ServerIs(d, "web", "10.0.0.21:80", "down", "agent is not heard (connect: refused), and stands by what it said: down disk is full")
	b.Agent("10.0.0.21:9777", "up ready 100%")
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:80=10")
}

// switches: a program's exit status as a weight, and a file with which operators
// drain servers.
func switches(r *rig.Rig, b *rig.Backends) {
	file := `
[service.web]
listen  = "10.0.0.100:80/tcp"
owner   = "none"
forward = "nat"
check   = { type = "exec", command = ["/run/weigh.sh", "{server}", "{port}", "{vip}", "{vport}"], dynamic = true, interval = "1s", timeout = "1s", rise = 1, fall = 1 }
[[service.web.server]]
address = "10.0.0.21:8080"
weight  = 10
[service.drained]
listen  = "10.0.0.100:81/tcp"
owner   = "none"
forward = "nat"
check   = { type = "file", file = "/run/drain-{server}", interval = "1s", rise = 1, fall = 1 }
[[service.drained.server]]
address = "10.0.0.21:8080"
[[service.drained.server]]
address = "10.0.0.22:8080"
[service.weighed]
listen  = "10.0.0.100:82/tcp"
owner   = "none"
forward = "nat"
check   = { type = "file", file = "/run/drain-{server}", factor = -1, interval = "1s", rise = 1, fall = 1 }
[[service.weighed.server]]
address = "10.0.0.21:8080"
weight  = 10
`
	h := r.LVS[0]
	set := func(path, text string) {
		r.Helper()
		r.Check(h.WriteFile(path+".new", []byte(text), 0o755))
		_, err := h.Run("mv", path+".new", path)
		r.Check(err)
	}
	exit := func(n int) { set("/run/weigh.sh", fmt.Sprintf("#!/bin/sh\necho \"$*\"\nexit %d\n", n)) }
	exit(0)
	d := r.Lvsha(h, file, memory...)
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:8080=10")
	r.ServerIs(d, "web", "10.0.0.21:8080", "up", "exit status 0: 10.0.0.21 8080 10.0.0.100 80")
	exit(5)
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:8080=3")
	exit(2)
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:8080=0")
	exit(1)
	r.PoolIs(h, "10.0.0.100:80/tcp")
	r.ServerIs(d, "web", "10.0.0.21:8080", "down", "exit status 1: 10.0.0.21 8080 10.0.0.100 80")

	r.PoolIs(h, "10.0.0.100:81/tcp", "10.0.0.21:8080=1", "10.0.0.22:8080=1")
	set("/run/drain-10.0.0.21", "4\n")
	r.PoolIs(h, "10.0.0.100:81/tcp", "10.0.0.22:8080=1")
	r.ServerIs(d, "drained", "10.0.0.21:8080", "down", "4 in the file, want 0")
	r.PoolIs(h, "10.0.0.100:82/tcp", "10.0.0.21:8080=6")
	_, err := h.Run("rm", "/run/drain-10.0.0.21")
	r.Check(err)
	r.PoolIs(h, "10.0.0.100:81/tcp", "10.0.0.21:8080=1", "10.0.0.22:8080=1")
	r.PoolIs(h, "10.0.0.100:82/tcp", "10.0.0.21:8080=10")
}

// maxDown: of three servers checks may take out one, the one that failed first.
func maxDown(r *rig.Rig, b *rig.Backends) {
	servers := []string{"10.0.0.21:80", "10.0.0.22:80", "10.0.0.23:80"}
	file := `
[service.web]
listen   = "10.0.0.100:80/tcp"
owner    = "none"
forward  = "nat"
max_down = 34
check    = { type = "http", interval = "1s", rise = 1, fall = 1 }
` + rig.ServersFile("web", servers...)
	h := r.LVS[0]
	b.Serve(servers...)
	d := r.Lvsha(h, file, memory...)
	const service = "10.0.0.100:80/tcp"
	r.PoolIs(h, service, "10.0.0.21:80=1", "10.0.0.22:80=1", "10.0.0.23:80=1")
	b.At(servers[1]).Status.Store(http.StatusInternalServerError)
	r.PoolIs(h, service, "10.0.0.21:80=1", "10.0.0.23:80=1")
	b.Kill(servers[0], servers[2])
	r.ServerIs(d, "web", servers[0], "down", "kept: checks may take out 1 of 3 servers (max_down), and have; connect: refused")
	r.ServerIs(d, "web", servers[2], "down", "kept: ")
	r.ServerIs(d, "web", servers[1], "down", "status 500, want 200-299")
	r.Printed(h, 15*time.Second, "! service web: 3 of 3 servers are down, and 2 of them are kept (max_down)", "service web: UP: no server passes its checks, and 2 are kept")
	r.PoolIs(h, service, "10.0.0.21:80=1", "10.0.0.23:80=1")
	b.Serve(servers[0])
	r.PoolIs(h, service, "10.0.0.21:80=1", "10.0.0.23:80=1")
	r.ServerIs(d, "web", servers[0], "up", "status 200")
}

// panics: fewer servers than panic wants, and all are used.
func panics(r *rig.Rig, b *rig.Backends) {
	servers := []string{"10.0.0.21:80", "10.0.0.22:80", "10.0.0.23:80"}
	file := `
[service.web]
listen  = "10.0.0.100:80/tcp"
owner   = "none"
forward = "nat"
panic   = 50
check   = { type = "http", interval = "1s", rise = 1, fall = 1 }
` + rig.ServersFile("web", servers...)
	h := r.LVS[0]
	b.Serve(servers...)
	d := r.Lvsha(h, file, memory...)
	const service = "10.0.0.100:80/tcp"
	all := []string{"10.0.0.21:80=1", "10.0.0.22:80=1", "10.0.0.23:80=1"}
	r.PoolIs(h, service, all...)
	b.Kill(servers[0])
	r.PoolIs(h, service, "10.0.0.22:80=1", "10.0.0.23:80=1")
	b.Kill(servers[1])
	r.PoolIs(h, service, all...)
	r.ServerIs(d, "web", servers[0], "down", "kept: fewer servers are up than panic wants; connect: refused")
	r.Printed(h, 15*time.Second, "! service web: panic: 1 of 3 servers are up, fewer than 50 %: all are used")
	b.Serve(servers[0])
	r.PoolIs(h, service, "10.0.0.21:80=1", "10.0.0.23:80=1")
}

// damping: a server that went down three times is kept down until it has passed for
// a while.
func damping(r *rig.Rig, b *rig.Backends) {
	file := `
[service.web]
listen  = "10.0.0.100:80/tcp"
owner   = "none"
forward = "nat"
check   = { type = "http", interval = "1s", rise = 1, fall = 1, damping = { changes = 3, within = "1m", hold = "3s" } }
` + rig.ServersFile("web", "10.0.0.21:80", "10.0.0.22:80")
	h := r.LVS[0]
	b.Serve("10.0.0.21:80", "10.0.0.22:80")
	d := r.Lvsha(h, file, memory...)
	status := &b.At("10.0.0.21:80").Status
	for range 3 {
		r.ServerIs(d, "web", "10.0.0.21:80", "up", "status 200")
		status.Store(http.StatusServiceUnavailable)
		r.ServerIs(d, "web", "10.0.0.21:80", "down", "status 503")
		status.Store(http.StatusOK)
	}
	passing := time.Now()
	r.Printed(h, 15*time.Second, "kept down, as it went down 3 times within 1m0s: status 200 for 1s of 3s")
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.22:80=1")
	r.ServerIs(d, "web", "10.0.0.21:80", "up", "status 200")
	if took := time.Since(passing); took < 2500*time.Millisecond {
		r.Errorf("it was up after %v", took)
	}
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:80=1", "10.0.0.22:80=1")
}

// initial: servers start as their service says.
func initial(r *rig.Rig, b *rig.Backends) {
	var file strings.Builder
	for i, word := range []string{"probe", "up", "down"} {
		fmt.Fprintf(&file, `
[service.%s]
listen  = "10.0.0.100:%d/tcp"
owner   = "none"
forward = "nat"
initial = %q
check   = { type = "http", port = %d, interval = "500ms", timeout = "500ms", rise = 3, fall = 3 }
`, word, 80+i, word, 80+i)
		file.WriteString(rig.ServersFile(word, "10.0.0.21:8000", "10.0.0.22:8000"))
		b.Serve(fmt.Sprintf("10.0.0.21:%d", 80+i)) // the other one refuses
	}
	h := r.LVS[0]
	d := r.Lvsha(h, file.String(), memory...)
	good, bad := "10.0.0.21:8000", "10.0.0.22:8000"
	for _, word := range []string{"probe", "up", "down"} {
		r.ServerIs(d, word, good, "up", "status 200")
		r.ServerIs(d, word, bad, "down", map[string]string{"probe": "connect: refused", "up": "connect: refused", "down": ""}[word])
	}
	s, err := d.Status()
	r.Check(err)
	probes := func(service, address string) uint64 { return rig.Server(s, service, address).Checks[0].Probes }
	if n := probes("down", good); n < 3 {
		r.Errorf("from down it was up after %d probes", n)
	}
	if n := probes("up", bad); n < 3 {
		r.Errorf("from up it was down after %d probes", n)
	}
	// What went into the table, and out of it.
	for service, want := range map[string][]string{
		"10.0.0.100:80/tcp": {"add server 10.0.0.21:8000 to 10.0.0.100:80/tcp weight 1 forward nat"},
		"10.0.0.100:81/tcp": {
			"add server 10.0.0.21:8000 to 10.0.0.100:81/tcp weight 1 forward nat", "add server 10.0.0.22:8000 to 10.0.0.100:81/tcp weight 1 forward nat",
			"set weight of server 10.0.0.22:8000 of 10.0.0.100:81/tcp from 1 to 0", "remove server 10.0.0.22:8000 from 10.0.0.100:81/tcp",
		},
		"10.0.0.100:82/tcp": {"add server 10.0.0.21:8000 to 10.0.0.100:82/tcp weight 1 forward nat"},
	} {
		r.PoolIs(h, service, "10.0.0.21:8000=1")
		got := slices.DeleteFunc(r.KernelLines(h, service), func(line string) bool { return strings.HasPrefix(line, "add service") })
		if !slices.Equal(got, want) {
			r.Errorf("%s: %q, want %q", service, got, want)
		}
	}
}

// bfdCheck: a server that runs bird is up while the session is, and down at once when
// bird dies, long before the check would ask again.
func bfdCheck(r *rig.Rig, b *rig.Backends) {
	file := `
[bfd]
interval   = "50ms"
multiplier = 4
[service.web]
listen  = "10.0.0.100:80/tcp"
owner   = "none"
forward = "nat"
check   = { type = "bfd", interval = "30s", fast_interval = "100ms", rise = 1, fall = 1 }
` + rig.ServersFile("web", "10.0.0.21:80")
	r.Check(b.Host.WriteFile("/run/bird.conf", []byte(`
router id 10.0.0.21;
protocol device {}
protocol bfd bfd1 {
  interface "eth0" { interval 50 ms; multiplier 4; };
  neighbor 10.0.0.1 dev "eth0" local 10.0.0.21;
}
`), 0o644))
	bird, err := b.Host.Start(nil, "bird", "-f", "-c", "/run/bird.conf", "-s", "/run/bird.ctl")
	r.Check(err)
	h := r.LVS[0]
	d := r.Lvsha(h, file, memory...)
	r.ServerIs(d, "web", "10.0.0.21:80", "up", "BFD session is up")
	r.PoolIs(h, "10.0.0.100:80/tcp", "10.0.0.21:80=1")
	r.Check(bird.Kill())
	died := time.Now()
	r.PoolIs(h, "10.0.0.100:80/tcp")
	took := time.Since(died)
	r.Logf("out of the pool %v after bird died", took)
	if took > 2*time.Second {
		r.Errorf("out of the pool after %v", took)
	}
	r.ServerIs(d, "web", "10.0.0.21:80", "down", "BFD session is Down: nothing heard for ")
}

// detail: a service by its name has all there is about its checks.
func detail(r *rig.Rig, b *rig.Backends) {
	file := rig.VRRPFile(3, time.Second) + `
[service.shop]
listen  = "10.0.0.100:80/tcp"
forward = "nat"
check   = { type = "http", body = "ok", interval = "1s", rise = 2, fall = 2 }
` + rig.ServersFile("shop", "10.0.0.21:80", "10.0.0.22:80") + `
[service.mail]
listen  = "10.0.0.100:25/tcp"
forward = "nat"
` + rig.ServersFile("mail", "10.0.0.21:25")
	b.Serve("10.0.0.21:80", "10.0.0.22:80")
	h := r.LVS[0]
	d := r.Lvsha(h, file, memory...)
	r.ServerIs(d, "shop", "10.0.0.21:80", "up", "status 200")
	b.At("10.0.0.21:80").Status.Store(http.StatusTeapot)
	r.ServerIs(d, "shop", "10.0.0.21:80", "down", "status 418")
	out, err := h.Run(r.Binary, "status", "shop")
	r.Check(err)
	for _, want := range []string{
		"service shop: UP: 1 of 2 servers up", "a quorum: the weights of the servers that are up add up to 1, want 1",
		"  server 10.0.0.21:80: DOWN for ", "    weight 1, gets nothing; ", "    weight 1, gets 1 of 1 (100 %); ",
		"    check 10.0.0.21:80 http /: DOWN for ", "      every 1s, timeout 1s, rise 2, fall 2", "status 418, want 200-299",
		" unknown -> up: status 200", " up -> down: status 418, want 200-299", "      latency ≤",
	} {
		if !strings.Contains(out, want) {
			r.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "mail") || strings.Contains(out, "virtual router") {
		r.Errorf("more than was asked for in\n%s", out)
	}
	if _, err := h.Run(r.Binary, "status", "wbe"); err == nil || !strings.Contains(err.Error(), `there is no service or virtual router "wbe"; there is mail, shop, web`) {
		r.Errorf("status of nobody: %v", err)
	}
	if out, err := h.Run(r.Binary, "status", "--json", "mail"); err != nil || !strings.Contains(out, `"name": "mail"`) || strings.Contains(out, `"name": "shop"`) {
		r.Errorf("%v\n%s", err, out)
	}
}
