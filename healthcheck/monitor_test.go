package healthcheck_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
)

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

var tcpCheck = healthcheck.Check{Ask: fake{}, Interval: time.Second, Timeout: 500 * time.Millisecond, Rise: 2, Fall: 3}

// target is the i-th server of 10.0.0.0/16.
func target(i int, c healthcheck.Check) healthcheck.Target {
	return healthcheck.Target{Server: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80), Check: c}
}

// farm is a set of servers that answer as they are told.
type farm struct {
	mu     sync.Mutex // guards what follows
	errs   map[netip.AddrPort]error
	delay  time.Duration
	advice healthcheck.Advice
	// mute and atOnce are those of every answer.
	mute, atOnce bool
	hang         bool
	stuck        map[netip.AddrPort]time.Duration
	starts       map[netip.AddrPort][]time.Time
	flying       int
	most         int
}

func newFarm() *farm {
	return &farm{errs: make(map[netip.AddrPort]error), starts: make(map[netip.AddrPort][]time.Time)}
}

func (f *farm) advise(a healthcheck.Advice) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.advice = a
}

func (f *farm) set(t healthcheck.Target, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs[t.Server] = err
}

// stick has probes of a server take so long, whatever their time is.
func (f *farm) stick(t healthcheck.Target, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stuck = map[netip.AddrPort]time.Duration{t.Server: d}
}

// fake is a question that farms answer.
type fake struct{ what string }

func (fake) Kind() string                            { return "fake" }
func (fake) String() string                          { return "" }
func (fake) Prepare() (healthcheck.ProbeFunc, error) { return nil, errors.New("no farm") }

// prepare makes the farm answer for all servers.
func (f *farm) prepare(q healthcheck.Question) (healthcheck.ProbeFunc, error) {
	if _, ok := q.(fake); ok {
		return f.probe, nil
	}
	return q.Prepare()
}

func (f *farm) probe(ctx context.Context, t healthcheck.Target) (healthcheck.Answer, error) {
	f.mu.Lock()
	f.starts[t.Server] = append(f.starts[t.Server], time.Now())
	f.flying++
	f.most = max(f.most, f.flying)
	err, delay, hang := f.errs[t.Server], max(f.delay, f.stuck[t.Server]), f.hang
	answer := healthcheck.Answer{Detail: "fine", Advice: f.advice, Mute: f.mute, AtOnce: f.atOnce}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.flying--
		f.mu.Unlock()
	}()
	if hang {
		<-ctx.Done()
		return healthcheck.Answer{}, healthcheck.ErrTimeout
	}
	if delay > 0 {
		time.Sleep(delay) // in a bubble
	}
	return answer, err
}

// probes are the starts of a target's probes so far.
func (f *farm) probes(t healthcheck.Target) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.starts[t.Server])
}

// monitored runs body with a monitor of a farm inside a bubble.
func monitored(t *testing.T, limit int, body func(t *testing.T, f *farm, m *healthcheck.Monitor, changes *changes)) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFarm(), &changes{start: time.Now()}
		m := healthcheck.New(healthcheck.Options{
			OnChange: c.add,
			Limits:   map[string]int{"fake": limit},
			Prepare:  f.prepare,
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run returned %v", err)
			}
		}()
		body(t, f, m, c)
	})
}

// changes notes what OnChange is told.
type changes struct {
	mu    sync.Mutex // guards list
	start time.Time
	list  []healthcheck.Change
}

func (c *changes) add(ch healthcheck.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, ch)
}

// take returns the changes so far as text and forgets them.
func (c *changes) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, ch := range c.list {
		line := fmt.Sprintf("%v %v->%v: %s", ch.Target.Server, ch.From, ch.To, ch.Reason)
		if ch.Advice != (healthcheck.Advice{}) {
			line += fmt.Sprintf(" (%v)", ch.Advice)
		}
		out = append(out, line)
	}
	c.list = nil
	slices.Sort(out)
	return out
}

func wants(targets ...healthcheck.Target) []healthcheck.Want {
	var out []healthcheck.Want
	for _, t := range targets {
		out = append(out, healthcheck.Want{Target: t})
	}
	return out
}

func state(t *testing.T, m *healthcheck.Monitor, target healthcheck.Target) healthcheck.Status {
	t.Helper()
	s, ok := m.Status(target)
	if !ok {
		t.Fatalf("%v is not monitored", target)
	}
	return s
}

func TestMonitorVerdicts(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		good, bad := target(1, tcpCheck), target(2, tcpCheck)
		f.set(bad, errors.New("connect: connection refused"))
		m.Set(wants(good, bad))
		if s := state(t, m, good); s.State != healthcheck.Unknown || s.Reason != "not probed yet" {
			t.Errorf("before the first probe: %+v", s.Verdict)
		}
		// Two new targets get their first probes within two milliseconds.
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if diff := cmp.Diff([]string{
			"10.0.0.1:80 unknown->up: fine",
			"10.0.0.2:80 unknown->down: connect: connection refused",
		}, c.take()); diff != "" {
			t.Errorf("first verdicts (-want +got):\n%s", diff)
		}

		// Out within fall × interval, back within rise × interval.
		f.set(good, errors.New("connect: no route to host"))
		f.set(bad, nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"10.0.0.2:80 down->up: fine"}, c.take()); diff != "" {
			t.Errorf("after rise × interval (-want +got):\n%s", diff)
		}
		time.Sleep(1 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"10.0.0.1:80 up->down: connect: no route to host"}, c.take()); diff != "" {
			t.Errorf("after fall × interval (-want +got):\n%s", diff)
		}
		f.set(good, errors.New("timeout"))
		time.Sleep(time.Second)
		synctest.Wait()
		s := state(t, m, good)
		if s.Reason != "timeout" || s.Last.Reason != "timeout" || s.Last.OK || s.Counters.Failures != 4 || s.Counters.Changes != 2 {
			t.Errorf("the latest reason is kept: %+v", s)
		}
	})
}

// TestMonitorAtOnce: somebody's word decides at once, whatever rise and fall are, and
// that a server has found its tongue is told although its state is what it was.
func TestMonitorAtOnce(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		a := target(1, tcpCheck)
		f.atOnce = true
		m.Set(wants(a))
		time.Sleep(500 * time.Millisecond)
		for _, s := range []struct {
			err  error
			mute bool
			want string
		}{
			{errors.New("agent says down"), false, "10.0.0.1:80 up->down: agent says down"},
			{nil, false, "10.0.0.1:80 down->up: fine"},
			{nil, true, "10.0.0.1:80 up->up: fine"},
			{nil, true, ""},
			{nil, false, "10.0.0.1:80 up->up: fine"},
		} {
			c.take()
			f.set(a, s.err)
			f.mu.Lock()
			f.mute = s.mute
			f.mu.Unlock()
			time.Sleep(time.Second)
			synctest.Wait()
			if got := strings.Join(c.take(), ", "); got != s.want {
				t.Errorf("told %q, want %q", got, s.want)
			}
			if v := state(t, m, a).Verdict; v.Mute != (s.mute && s.err == nil) {
				t.Errorf("verdict %+v", v)
			}
		}
		if n := state(t, m, a).Counters.Changes; n != 3 {
			t.Errorf("%d changes of state, want 3", n)
		}
	})
}

// TestMonitorAdoptsMute: that a server was in use is no word of it to a check that passes
// without one.
func TestMonitorAdoptsMute(t *testing.T) {
	m := healthcheck.New(healthcheck.Options{})
	for _, c := range []struct {
		ask     healthcheck.Question
		initial healthcheck.State
		mute    bool
	}{
		{healthcheck.Agent{}, healthcheck.Up, true},
		{healthcheck.UDP{}, healthcheck.Up, true},
		{healthcheck.UDP{Reply: true}, healthcheck.Up, false},
		{healthcheck.TCP{}, healthcheck.Up, false},
		{healthcheck.UDP{}, healthcheck.Unknown, false},
		{healthcheck.Agent{}, healthcheck.Down, false},
	} {
		at := target(1, healthcheck.Check{Ask: c.ask, Port: 8080})
		m.Set([]healthcheck.Want{{Target: at, Initial: c.initial}})
		if got := m.Judgments([]healthcheck.Target{at})[0]; got.State != c.initial || got.Mute != c.mute {
			t.Errorf("%s that starts as %v: %+v", c.ask.Kind(), c.initial, got)
		}
		m.Set(nil)
	}
	// HTTP has failed since, and the agent cannot be reached.
	at := target(1, healthcheck.Check{Ask: healthcheck.Agent{}, Port: 8080})
	m.Set([]healthcheck.Want{{Target: at, Initial: healthcheck.Up}})
	verdicts := []healthcheck.Verdict{{State: healthcheck.Down, Reason: "status 500"}, m.Judgments([]healthcheck.Target{at})[0].Verdict}
	if got := healthcheck.RequireAny.Combine(verdicts); got.State != healthcheck.Down {
		t.Errorf("%+v", got)
	}
}

func TestMonitorSetKeeps(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		stays, goes, comes := target(1, tcpCheck), target(2, tcpCheck), target(3, tcpCheck)
		m.Set(wants(stays, goes))
		time.Sleep(5 * time.Second)
		before := state(t, m, stays)
		// Set is called far more often than the interval: the schedule holds.
		for range 50 {
			m.Set(wants(comes, stays, stays))
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		after := state(t, m, stays)
		if got := after.Counters.Probes - before.Counters.Probes; got != 5 {
			t.Errorf("%d probes in 5 s, want 5", got)
		}
		if after.Since != before.Since || after.Counters.Late != 0 {
			t.Errorf("before %+v\nafter %+v", before, after)
		}
		starts := f.probes(stays)
		for i := 2; i < len(starts); i++ {
			if gap := starts[i].Sub(starts[i-1]); gap != time.Second {
				t.Errorf("probe %d came after %v", i, gap)
			}
		}
		if _, ok := m.Status(goes); ok || len(m.Snapshot()) != 2 {
			t.Errorf("got %v", m.Snapshot())
		}

		// A new pace keeps the verdict; a new question does not.
		paced := stays
		paced.Check.Interval, paced.Check.Fall = 2*time.Second, 5
		asked := comes
		asked.Check.Ask = fake{what: "other"}
		c.take()
		m.Set(wants(paced, asked))
		if s := state(t, m, paced); s.State != healthcheck.Up || s.Since != after.Since || s.Counters.Probes != after.Counters.Probes {
			t.Errorf("new pace: %+v", s)
		}
		if s := state(t, m, asked); s.State != healthcheck.Unknown {
			t.Errorf("new question: %+v", s)
		}
	})
}

// TestMonitorPaces holds that a target is probed faster while its state is in
// doubt, and slower while it is down.
func TestMonitorPaces(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		check := tcpCheck
		check.FastInterval, check.DownInterval = 200*time.Millisecond, 5*time.Second
		a := target(1, check)
		m.Set(wants(a))
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		gaps := func() (out []time.Duration) {
			starts := f.probes(a)
			for i := 1; i < len(starts); i++ {
				out = append(out, starts[i].Sub(starts[i-1]))
			}
			return out
		}
		before := len(gaps())
		f.set(a, errors.New("connect: connection refused"))
		time.Sleep(12 * time.Second)
		synctest.Wait()
		fast, slow := 200*time.Millisecond, 5*time.Second
		// Fall is 3: two more failures, fast, make it down, and then it is slow.
		if diff := cmp.Diff([]time.Duration{time.Second, fast, fast, slow, slow}, gaps()[before:]); diff != "" {
			t.Errorf("going down (-want +got):\n%s", diff)
		}
		before = len(gaps())
		f.set(a, nil)
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]time.Duration{slow, fast, time.Second}, gaps()[before:][:3]); diff != "" {
			t.Errorf("coming up (-want +got):\n%s", diff)
		}
	})
}

// TestMonitorSoon holds that a target can be probed before its time, and that its
// rhythm holds.
func TestMonitorSoon(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		check := tcpCheck
		check.Interval = time.Minute
		a, b := target(1, check), target(2, check)
		m.Set(wants(a, b))
		time.Sleep(2*time.Minute + time.Second)
		synctest.Wait()
		before := len(f.probes(b))
		c.take()
		f.set(a, errors.New("no"))
		for range 3 {
			m.Soon(func(t healthcheck.Target) bool { return t == a })
			synctest.Wait()
		}
		if diff := cmp.Diff([]string{"10.0.0.1:80 up->down: no"}, c.take()); diff != "" || len(f.probes(b)) != before {
			t.Errorf("%d probes of the other; (-want +got):\n%s", len(f.probes(b))-before, diff)
		}
		starts := f.probes(a)
		time.Sleep(time.Minute)
		synctest.Wait()
		if next := f.probes(a)[len(starts):]; len(next) != 1 || next[0].Sub(starts[1])%time.Minute != 0 {
			t.Errorf("after that it was probed at %v, before at %v", next, starts)
		}
	})
}

// TestMonitorJitter holds that jitter delays probes, differently each time, and
// that the rhythm holds.
func TestMonitorJitter(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		check := tcpCheck
		check.Jitter = 300 * time.Millisecond
		a := target(1, check)
		m.Set(wants(a))
		time.Sleep(100*time.Second + time.Millisecond)
		synctest.Wait()
		starts := f.probes(a)[2:] // the first round is its own
		if len(starts) < 97 || len(starts) > 100 {
			t.Errorf("%d probes in 100 s", len(starts))
		}
		least, most := time.Hour, time.Duration(0)
		for _, s := range starts {
			at := s.Sub(starts[0].Truncate(0)) % time.Second
			if at > 500*time.Millisecond {
				at -= time.Second // the first was delayed more than this one
			}
			least, most = min(least, at), max(most, at)
		}
		if spread := most - least; spread < 150*time.Millisecond || spread > 300*time.Millisecond {
			t.Errorf("probes are spread over %v, want nearly 300ms", spread)
		}
	})
}

// TestMonitorShows holds what is kept of a target: advice, warning, transitions and
// latencies.
func TestMonitorShows(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		a := target(1, tcpCheck)
		f.delay = 15 * time.Millisecond
		m.Set(wants(a))
		for range 15 {
			time.Sleep(4 * time.Second)
			f.set(a, errors.New("no"))
			time.Sleep(4 * time.Second)
			f.set(a, nil)
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		s := state(t, m, a)
		if len(s.History) != 20 || s.History[19].To != healthcheck.Up || s.History[18].Reason != "no" {
			t.Errorf("history: %v", s.History)
		}
		want := []healthcheck.Bucket{{UpTo: 20 * time.Millisecond, Count: uint32(s.Counters.Successes)}}
		if diff := cmp.Diff(want, s.Latency.Buckets()); diff != "" {
			t.Errorf("latency (-want +got):\n%s", diff)
		}
		c.take()
		f.advise(healthcheck.Advice{Unit: healthcheck.Percent, Weight: 50})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"10.0.0.1:80 up->up: fine (weight 50%)"}, c.take()); diff != "" {
			t.Errorf("advice (-want +got):\n%s", diff)
		}
		// One failure does not take back what was advised.
		f.advise(healthcheck.Advice{})
		f.set(a, errors.New("no"))
		time.Sleep(time.Second)
		synctest.Wait()
		if got := state(t, m, a); got.Advice.Weight != 50 || got.Streak != 1 {
			t.Errorf("after a failure: %+v", got)
		}
		f.advise(healthcheck.Advice{Unit: healthcheck.Percent, Weight: 50})
		f.set(a, nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if j := m.Judgments([]healthcheck.Target{a, target(2, tcpCheck)}); j[0].State != healthcheck.Up || j[0].Advice.Weight != 50 || j[1] != (healthcheck.Judgment{}) {
			t.Errorf("judgments: %+v", j)
		}
	})
}

func TestMonitorTakesOver(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		a := target(1, tcpCheck)
		f.set(a, errors.New("connect: connection refused"))
		m.Set([]healthcheck.Want{{Target: a, Initial: healthcheck.Up}})
		if s := state(t, m, a); s.State != healthcheck.Up || s.Reason != "taken over as up" {
			t.Errorf("got %+v", s.Verdict)
		}
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		if got := c.take(); got != nil {
			t.Errorf("changed already: %v", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"10.0.0.1:80 up->down: connect: connection refused"}, c.take()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestMonitorOneProbePerQuestion(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		a, b := target(1, tcpCheck), target(1, tcpCheck)
		a.Check.Port, b.Check.Port = 8080, 8080
		b.Server = netip.AddrPortFrom(b.Server.Addr(), 443)
		m.Set(wants(a, b))
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if n := len(m.Snapshot()); n != 1 {
			t.Errorf("%d targets, want 1", n)
		}
		if !reflect.DeepEqual(state(t, m, a), state(t, m, b)) {
			t.Error("two statuses for one probe")
		}
	})
}

func TestMonitorTimeout(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		check := tcpCheck
		check.Timeout = check.Interval // probes follow each other without a gap
		a := target(1, check)
		f.hang = true
		m.Set(wants(a))
		time.Sleep(10*time.Second + 10*time.Millisecond)
		synctest.Wait()
		s := state(t, m, a)
		if s.State != healthcheck.Down || s.Counters.Probes < 9 || s.Counters.Late != 0 || s.Counters.Inconclusive != 0 {
			t.Errorf("got %+v", s)
		}
		if f.most != 1 {
			t.Errorf("%d probes of one target at once", f.most)
		}
	})
}

// TestMonitorStarved lets a probe's timeout fire late, as after SIGSTOP: the
// result is disregarded, once.
func TestMonitorStarved(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		check := tcpCheck
		check.Fall = 1
		a := target(1, check)
		m.Set([]healthcheck.Want{{Target: a, Initial: healthcheck.Up}})
		f.delay = 5 * time.Second
		f.set(a, healthcheck.ErrTimeout)
		time.Sleep(5*time.Second + 2*time.Millisecond)
		synctest.Wait()
		s := state(t, m, a)
		if s.State != healthcheck.Up || s.Counters.Inconclusive != 1 || !s.Last.Inconclusive {
			t.Errorf("after the first: %+v", s)
		}
		if n := len(f.probes(a)); n != 2 {
			t.Errorf("%d probes, want the second at once", n)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s := state(t, m, a); s.State != healthcheck.Down || s.Counters.Failures != 1 {
			t.Errorf("after the second: %+v", s)
		}
	})
}

func TestMonitorOwnFault(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		a := target(1, tcpCheck)
		m.Set(wants(a))
		time.Sleep(time.Second)
		f.set(a, fmt.Errorf("%w: too many open files", healthcheck.ErrInconclusive))
		time.Sleep(time.Minute)
		synctest.Wait()
		s := state(t, m, a)
		if s.State != healthcheck.Up || s.Counters.Inconclusive < 59 || s.Counters.Failures != 0 {
			t.Errorf("got %+v", s)
		}
	})
}

// TestMonitorMany spreads 10,000 targets over their interval and holds neither
// goroutine nor timer for an idle one.
func TestMonitorMany(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		const n = 10000
		f.delay = time.Millisecond
		var all []healthcheck.Target
		for i := range n {
			all = append(all, target(i, tcpCheck))
		}
		idle := runtime.NumGoroutine()
		m.Set(wants(all...))
		if got := runtime.NumGoroutine(); got > idle {
			t.Errorf("%d goroutines for idle targets", got-idle)
		}
		time.Sleep(3*time.Second + 2*time.Millisecond)
		synctest.Wait()
		for _, s := range m.Snapshot() {
			if s.State != healthcheck.Up || s.Counters.Late != 0 || s.Counters.Probes < 3 || s.Counters.Probes > 4 {
				t.Fatalf("got %+v", s)
			}
		}
		// Evenly spread, 10 start each millisecond.
		if f.most > 60 {
			t.Errorf("%d probes at once", f.most)
		}
	})
}

func TestMonitorLimit(t *testing.T) {
	monitored(t, 4, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		var all []healthcheck.Target
		for i := range 40 {
			all = append(all, target(i, tcpCheck))
		}
		f.delay = 200 * time.Millisecond // 4 at once make 20 a second, half of what is wanted
		m.Set(wants(all...))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if f.most != 4 {
			t.Errorf("%d probes at once, want 4", f.most)
		}
		var late uint64
		for _, s := range m.Snapshot() {
			late += s.Counters.Late
			if s.Counters.Probes < 4 {
				t.Errorf("%v was probed %d times in 10 s: not its fair share", s.Target, s.Counters.Probes)
			}
		}
		if late == 0 {
			t.Error("late probes were not counted")
		}
	})
}

// TestMonitorHangs: a probe that does not end, because of a file or a program of this
// machine, says nothing about its server, takes no other one's place, and is told as what
// it is.
func TestMonitorHangs(t *testing.T) {
	monitored(t, 1, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		a, b := target(1, tcpCheck), target(2, tcpCheck)
		m.Set(wants(a, b))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		f.stick(a, time.Hour)
		time.Sleep(time.Minute)
		synctest.Wait()
		before := len(f.probes(b))
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(f.probes(b)) - before; n < 59 {
			t.Errorf("the other server was probed %d times in a minute", n)
		}
		s := state(t, m, a)
		if s.State != healthcheck.Up || !s.Last.Inconclusive || !strings.Contains(s.Last.Reason, "the check itself hangs") {
			t.Errorf("the one that hangs: %+v", s)
		}
		started := len(f.probes(a))
		time.Sleep(time.Hour)
		synctest.Wait()
		f.stick(a, 0)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if s := state(t, m, a); s.State != healthcheck.Up || s.Last.Inconclusive || len(f.probes(a)) < started+100 {
			t.Errorf("afterwards: %+v, %d probes", s, len(f.probes(a))-started)
		}
		if f.most > 2 {
			t.Errorf("%d probes at once", f.most)
		}
	})
}

// TestMonitorDropInFlight removes a target while it is being probed.
func TestMonitorDropInFlight(t *testing.T) {
	monitored(t, 1, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		a, b := target(1, tcpCheck), target(2, tcpCheck)
		f.hang = true
		m.Set(wants(a, b)) // one flies, the other waits for it
		time.Sleep(10 * time.Millisecond)
		m.Set(nil)
		synctest.Wait()
		f.mu.Lock()
		flying := f.flying
		f.hang = false
		f.mu.Unlock()
		if flying != 0 {
			t.Errorf("%d probes still fly", flying)
		}
		m.Set(wants(a))
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if diff := cmp.Diff([]string{"10.0.0.1:80 unknown->up: fine"}, c.take()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestMonitorUnready holds that a check that cannot be asked fails with the reason.
func TestMonitorUnready(t *testing.T) {
	monitored(t, 0, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		for _, tt := range []struct {
			check healthcheck.Check
			want  string
		}{
			{healthcheck.Check{}, "nothing to ask"},
			{healthcheck.Check{Ask: healthcheck.HTTP{Request: healthcheck.Request{BodyRegex: "("}}}, "body_regex: error parsing regexp: missing closing ): `(`"},
		} {
			a := target(1, tt.check)
			m.Set(wants(a))
			time.Sleep(time.Second)
			synctest.Wait()
			if s := state(t, m, a); s.State != healthcheck.Down || s.Reason != tt.want {
				t.Errorf("got %+v, want %s", s.Verdict, tt.want)
			}
		}
	})
}

// TestMonitorConcurrent calls everything from everywhere; the race detector
// watches.
func TestMonitorConcurrent(t *testing.T) {
	monitored(t, 8, func(t *testing.T, f *farm, m *healthcheck.Monitor, c *changes) {
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 50 {
					m.Set(wants(target(g, tcpCheck), target(i, tcpCheck)))
					m.Snapshot()
					m.Status(target(i, tcpCheck))
					time.Sleep(37 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		m.Set(wants(target(1, tcpCheck)))
		if n := len(m.Snapshot()); n != 1 {
			t.Errorf("%d targets, want 1", n)
		}
	})
}

// TestMonitorOnChangeCallsBack holds that OnChange may use the monitor.
func TestMonitorOnChangeCallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m *healthcheck.Monitor
		seen := 0
		m = healthcheck.New(healthcheck.Options{
			Prepare: newFarm().prepare,
			OnChange: func(ch healthcheck.Change) {
				seen = len(m.Snapshot())
				m.Set(nil)
			},
		})
		m.Set(wants(target(1, tcpCheck)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.Run(ctx); err != nil || seen != 1 || len(m.Snapshot()) != 0 {
			t.Errorf("got %v, saw %d", err, seen)
		}
	})
}

// TestNewTargetsAtOnce: new targets are asked at once however long their interval is: few
// of them within milliseconds, and ten thousand spread over a second, so that each has its
// first verdict within the timeout and a second. Those that were there keep their pace.
func TestNewTargetsAtOnce(t *testing.T) {
	check := tcpCheck
	check.Interval = time.Minute
	for _, tt := range []struct {
		n      int
		within time.Duration
	}{{2, 2 * time.Millisecond}, {200, 200 * time.Millisecond}, {10000, time.Second}} {
		t.Run(fmt.Sprint(tt.n), func(t *testing.T) {
			monitored(t, 20000, func(t *testing.T, f *farm, m *healthcheck.Monitor, _ *changes) {
				old := healthcheck.Target{Server: addrPort("10.9.9.9:80"), Check: check}
				m.Set([]healthcheck.Want{{Target: old}})
				time.Sleep(90 * time.Second)
				before := len(f.probes(old))
				f.hang = true
				want := []healthcheck.Want{{Target: old}}
				for i := range tt.n {
					want = append(want, healthcheck.Want{Target: target(i, check)})
				}
				start := time.Now()
				m.Set(want)
				time.Sleep(check.FirstVerdict(healthcheck.Unknown))
				synctest.Wait()
				buckets := make(map[time.Duration]int)
				for i := range tt.n {
					starts := f.probes(target(i, check))
					if len(starts) == 0 || starts[0].Sub(start) >= tt.within {
						t.Fatalf("target %d was probed at %v", i, starts)
					}
					buckets[starts[0].Sub(start)/(10*time.Millisecond)]++
					if s, _ := m.Status(target(i, check)); s.State != healthcheck.Down {
						t.Fatalf("target %d is %v", i, s.Verdict)
					}
				}
				for at, n := range buckets {
					if n > 200 {
						t.Errorf("%d probes within 10 ms, %d0 ms after they were set", n, at)
					}
				}
				if n := len(f.probes(old)); n != before {
					t.Errorf("%d probes of the one that was there before", n-before)
				}
			})
		})
	}
}
