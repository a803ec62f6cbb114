package bfd_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/bfd"
)

var (
	key = bfd.Key{Interface: "eth0", Local: netip.MustParseAddr("10.0.0.1"), Peer: netip.MustParseAddr("10.0.0.2")}
	// fast is what the tests negotiate with.
	fast  = bfd.Params{Interval: 10 * time.Millisecond, Multiplier: 3}
	start = time.Unix(1e9, 0)
)

const ms = time.Millisecond

// bench drives one session by hand. Its jitter is what it says.
type bench struct {
	testing.TB
	*bfd.Session
	now    time.Time
	jitter float64
}

func newBench(t *testing.T, params bfd.Params) *bench {
	b := &bench{TB: t, now: start}
	b.Session = bfd.NewSession(key, params, 0x11, func() float64 { return b.jitter }, start)
	return b
}

// sent are the packets among actions.
func sent(actions []bfd.Action) (out []bfd.Packet) {
	for _, a := range actions {
		if s, ok := a.(bfd.Send); ok {
			out = append(out, s.Packet)
		}
	}
	return out
}

// transitions are the changes of state among actions.
func transitions(actions []bfd.Action) (out []bfd.Transition) {
	for _, a := range actions {
		if tr, ok := a.(bfd.Transition); ok {
			out = append(out, tr)
		}
	}
	return out
}

// peer is a packet as an ordinary peer sends it.
func peer(state bfd.State) bfd.Packet {
	p := bfd.Packet{State: state, Multiplier: 3, MyDiscriminator: 0x22, YourDiscriminator: 0x11, MinTx: time.Second, MinRx: 10 * ms}
	if state == bfd.Up {
		p.MinTx = 10 * ms
	}
	return p
}

// hear steps a packet and returns a copy of the actions.
func (b *bench) hear(p bfd.Packet) []bfd.Action {
	return slices.Clone(b.Step(b.now, bfd.Received{At: b.now, Packet: &p}))
}

// run steps every deadline up to a time after now, and returns all actions.
func (b *bench) run(d time.Duration) []bfd.Action {
	b.Helper()
	var out []bfd.Action
	end := b.now.Add(d)
	for at := b.Deadline(); !at.IsZero() && !at.After(end); at = b.Deadline() {
		if at.After(b.now) {
			b.now = at
		}
		out = append(out, b.Step(b.now, bfd.Tick{})...)
	}
	b.now = end
	return out
}

// up brings the session up, with the polls of both ends answered.
func (b *bench) up() {
	b.Helper()
	b.run(0)
	b.hear(peer(bfd.Init))
	p := peer(bfd.Up)
	p.Final = true
	b.hear(p)
	b.is(bfd.Up)
	if b.Status().Polling {
		b.Fatal("a poll goes on")
	}
}

func (b *bench) is(want bfd.State) {
	b.Helper()
	if b.State() != want {
		b.Fatalf("state %s, want %s", b.State(), want)
	}
}

// TestSessionBFD_FSM_06_PKT_04: the first values, and that packets go unasked, as
// both ends are active (BFD-PKT-04).
func TestSessionBFD_FSM_06_PKT_04(t *testing.T) {
	b := newBench(t, fast)
	b.is(bfd.Down)
	want := []bfd.Packet{{State: bfd.Down, Multiplier: 3, MyDiscriminator: 0x11, MinTx: time.Second, MinRx: 10 * ms}}
	if diff := cmp.Diff(want, sent(b.run(0))); diff != "" {
		t.Errorf("first packet, unasked (-want +got):\n%s", diff)
	}
	s := b.Status()
	if s.RemoteState != bfd.Down || s.Remote != 0 || s.Transmission != time.Second || s.Detection != 0 {
		t.Errorf("initial values %+v", s)
	}
	if got := len(sent(b.run(10 * time.Second))); got != 10 {
		t.Errorf("%d packets in 10 s, want 10: RemoteMinRx begins with 1 µs", got)
	}
}

// to brings a fresh session into a state.
func to(t *testing.T, state bfd.State) *bench {
	t.Helper()
	b := newBench(t, fast)
	b.run(0)
	switch state {
	case bfd.AdminDown:
		b.Step(b.now, bfd.Disable{})
	case bfd.Init:
		b.hear(peer(bfd.Down))
	case bfd.Up:
		b.up()
	}
	b.is(state)
	return b
}

// TestSessionBFD_FSM_01_02_03_04 is the whole state machine: what each state
// makes of each state of the peer, and tells it at once (BFD-TMR-07).
func TestSessionBFD_FSM_01_02_03_04(t *testing.T) {
	for _, c := range []struct {
		from, hears, want bfd.State
		diag              bfd.Diag
	}{
		{bfd.AdminDown, bfd.AdminDown, bfd.AdminDown, bfd.DiagAdminDown},
		{bfd.AdminDown, bfd.Down, bfd.AdminDown, bfd.DiagAdminDown},
		{bfd.AdminDown, bfd.Init, bfd.AdminDown, bfd.DiagAdminDown},
		{bfd.AdminDown, bfd.Up, bfd.AdminDown, bfd.DiagAdminDown},
		{bfd.Down, bfd.AdminDown, bfd.Down, bfd.DiagNone},
		{bfd.Down, bfd.Down, bfd.Init, bfd.DiagNone},
		{bfd.Down, bfd.Init, bfd.Up, bfd.DiagNone},
		{bfd.Down, bfd.Up, bfd.Down, bfd.DiagNone},
		{bfd.Init, bfd.AdminDown, bfd.Down, bfd.DiagNeighborDown},
		{bfd.Init, bfd.Down, bfd.Init, bfd.DiagNone},
		{bfd.Init, bfd.Init, bfd.Up, bfd.DiagNone},
		{bfd.Init, bfd.Up, bfd.Up, bfd.DiagNone},
		{bfd.Up, bfd.AdminDown, bfd.Down, bfd.DiagNeighborDown},
		{bfd.Up, bfd.Down, bfd.Down, bfd.DiagNeighborDown},
		{bfd.Up, bfd.Init, bfd.Up, bfd.DiagNone},
		{bfd.Up, bfd.Up, bfd.Up, bfd.DiagNone},
	} {
		b := to(t, c.from)
		before := b.Status().Counters.Received
		actions := b.hear(peer(c.hears))
		if b.State() != c.want || b.Status().Diag != c.diag {
			t.Errorf("%s hears %s: %s with %q, want %s with %q", c.from, c.hears, b.State(), b.Status().Diag, c.want, c.diag)
		}
		changed, packets := transitions(actions), sent(actions)
		switch {
		case c.from == c.want:
			if len(changed) != 0 || len(packets) != 0 {
				t.Errorf("%s hears %s: %v", c.from, c.hears, actions)
			}
		// BFD-TMR-07: at once.
		case len(changed) != 1 || len(packets) != 1 || packets[0].State != c.want || packets[0].Diag != c.diag:
			t.Errorf("%s hears %s: %v", c.from, c.hears, actions)
		// BFD-VR-02: the peer's own word is no death.
		case changed[0].Failed():
			t.Errorf("%s hears %s: a failure, %v", c.from, c.hears, changed[0])
		}
		if s := b.Status(); c.from == bfd.AdminDown && (s.Counters.Received != before || s.Counters.Dropped[bfd.LocallyDown] != 1) {
			t.Errorf("AdminDown took in a packet: %+v", s)
		}
	}
}

func TestSessionBFD_FSM_05_VR_01(t *testing.T) {
	for _, from := range []bfd.State{bfd.Init, bfd.Up} {
		b := to(t, from)
		detection := b.Status().Detection
		if want := map[bfd.State]time.Duration{bfd.Init: 3 * time.Second, bfd.Up: 30 * ms}[from]; detection != want {
			t.Fatalf("%s: detection time %s, want %s", from, detection, want)
		}
		if got := transitions(b.run(detection - 1)); len(got) != 0 {
			t.Fatalf("%s: too early: %v", from, got)
		}
		actions := b.run(1)
		got := transitions(actions)
		if len(got) != 1 || got[0].To != bfd.Down || got[0].Diag != bfd.DiagExpired {
			t.Fatalf("%s: %v", from, actions)
		}
		if got[0].Failed() != (from == bfd.Up) {
			t.Errorf("%s: Failed is %v", from, got[0].Failed())
		}
		if p := sent(actions); p[0].YourDiscriminator != 0 || p[0].Diag != bfd.DiagExpired || p[0].MinTx != time.Second {
			t.Errorf("%s: said %v", from, p[0])
		}
	}
}

// TestSessionForgetsDiscriminator: the peer's number is forgotten after a
// detection time without a packet in Down too, or the next process of the peer is
// never met (RFC 5880 section 6.8.1).
func TestSessionForgetsDiscriminator(t *testing.T) {
	b := to(t, bfd.Up)
	b.hear(bfd.Packet{State: bfd.AdminDown, Multiplier: 1, MyDiscriminator: 0x22, YourDiscriminator: 0x11, MinTx: time.Second, MinRx: 10 * ms})
	if got := b.Status().Remote; got != 0x22 {
		t.Fatalf("remote discriminator %#x", got)
	}
	b.run(time.Second)
	if got := b.Status().Remote; got != 0 {
		t.Errorf("remote discriminator %#x after the detection time", got)
	}
	packets := sent(b.run(time.Second))
	if len(packets) == 0 || packets[0].YourDiscriminator != 0 || packets[0].Poll {
		t.Errorf("sent %v", packets)
	}
}

func TestSessionBFD_RX_03(t *testing.T) {
	b := to(t, bfd.Init)
	p := peer(bfd.Up)
	p.Auth = true
	if actions := b.hear(p); len(actions) != 0 || b.Status().Counters.Dropped[bfd.Authenticated] != 1 {
		t.Errorf("%v, %+v", actions, b.Status())
	}
	b.is(bfd.Init)
}

func TestSessionBFD_RX_04(t *testing.T) {
	b := newBench(t, fast)
	b.run(0)
	b.hear(peer(bfd.Init)) // Up, and a poll for the faster transmission
	if s := b.Status(); !s.Polling || s.Transmission != 10*ms || s.Detection != 3*time.Second {
		t.Fatalf("%+v", s)
	}
	p := bfd.Packet{
		State: bfd.Up, Diag: bfd.DiagPathDown, Final: true, Demand: true, Multiplier: 7,
		MyDiscriminator: 0x33, YourDiscriminator: 0x11, MinTx: 50 * ms, MinRx: 40 * ms,
	}
	b.hear(p)
	s := b.Status()
	if s.Remote != 0x33 || s.RemoteState != bfd.Up || s.RemoteDiag != bfd.DiagPathDown || s.Polling || s.Detection != 350*ms {
		t.Errorf("%+v", s)
	}
	// A peer in demand mode wants no periodic packets (RFC 5880 section 6.8.7).
	if s.Transmission != 0 {
		t.Errorf("transmission %s to a peer in demand mode", s.Transmission)
	}
	p.Demand, p.Final = false, false
	b.hear(p)
	if got := b.Status().Transmission; got != 40*ms {
		t.Errorf("transmission %s, want the peer's 40ms", got)
	}
}

// TestSessionBFD_TMR_01: the slower end decides, and every gap is shortened.
func TestSessionBFD_TMR_01(t *testing.T) {
	for _, c := range []struct {
		multiplier uint8
		jitter     float64
		rx         time.Duration
		want       time.Duration
	}{
		{3, 0, 10 * ms, 10 * ms},
		{3, 0.9999, 10 * ms, 7500 * time.Microsecond},
		{3, 0, 100 * ms, 100 * ms},
		{3, 0, 1 * ms, 10 * ms},
		{1, 0, 10 * ms, 9 * ms},
		{1, 0.9999, 10 * ms, 7500 * time.Microsecond},
	} {
		b := newBench(t, bfd.Params{Interval: 10 * ms, Multiplier: c.multiplier})
		b.up()
		p := peer(bfd.Up)
		p.MinRx, p.Multiplier = c.rx, 255
		b.hear(p)
		b.jitter = c.jitter
		b.run(2 * c.rx)
		from := b.now
		first := b.Deadline()
		b.run(first.Sub(from))
		got := b.Deadline().Sub(first)
		if (got - c.want).Abs() > 2*time.Microsecond {
			t.Errorf("%+v: gap %s", c, got)
		}
	}
}

// TestSessionBFD_TMR_02: the detection time is the peer's multiplier times the
// slower of our receiving and its sending.
func TestSessionBFD_TMR_02(t *testing.T) {
	for _, c := range []struct {
		multiplier uint8
		tx, want   time.Duration
	}{{3, 10 * ms, 30 * ms}, {5, 10 * ms, 50 * ms}, {3, 100 * ms, 300 * ms}, {3, 1 * ms, 30 * ms}} {
		b := to(t, bfd.Up)
		p := peer(bfd.Up)
		p.Multiplier, p.MinTx = c.multiplier, c.tx
		b.hear(p)
		if got := b.Status().Detection; got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestSessionBFD_TMR_03(t *testing.T) {
	for _, state := range []bfd.State{bfd.Down, bfd.Init} {
		b := to(t, state)
		b.jitter = 0.9999
		for _, p := range sent(b.run(2500 * ms)) {
			if p.MinTx < time.Second {
				t.Errorf("%s says %v", state, p)
			}
		}
		if got := len(sent(b.run(300 * ms))); got > 1 {
			t.Errorf("%s sends %d packets in 300 ms", state, got)
		}
	}
	slow := newBench(t, bfd.Params{Interval: 2 * time.Second, Multiplier: 3})
	if p := sent(slow.run(0)); p[0].MinTx != 2*time.Second {
		t.Errorf("says %v", p[0])
	}
}

// TestSessionBFD_TMR_04: while Up, less than before takes effect only when the
// peer has answered, more at once.
func TestSessionBFD_TMR_04(t *testing.T) {
	b := to(t, bfd.Up)
	keep := peer(bfd.Up)
	keep.Multiplier = 255

	// Slower sending waits; larger receiving does not.
	b.Step(b.now, bfd.Reconfigure{Params: bfd.Params{Interval: 40 * ms, Multiplier: 3}})
	if s := b.Status(); !s.Polling || s.Transmission != 10*ms || s.Detection != 120*ms {
		t.Fatalf("before F: %+v", s)
	}
	b.hear(keep)
	packets := sent(b.run(20 * ms))
	if len(packets) != 2 || !packets[0].Poll || packets[0].MinTx != 40*ms || packets[0].MinRx != 40*ms {
		t.Errorf("poll: %v", packets)
	}
	final := keep
	final.Final = true
	b.hear(final)
	if s := b.Status(); s.Polling || s.Transmission != 40*ms {
		t.Errorf("after F: %+v", s)
	}

	// Faster sending does not wait; smaller receiving does.
	b.Step(b.now, bfd.Reconfigure{Params: fast})
	if s := b.Status(); !s.Polling || s.Transmission != 10*ms || s.Detection != 255*40*ms {
		t.Errorf("faster before F: %+v", s)
	}
	b.hear(final)
	if s := b.Status(); s.Polling || s.Detection != 255*10*ms {
		t.Errorf("faster after F: %+v", s)
	}

	// A change during a poll starts another.
	b.Step(b.now, bfd.Reconfigure{Params: bfd.Params{Interval: 40 * ms, Multiplier: 3}})
	b.Step(b.now, bfd.Reconfigure{Params: bfd.Params{Interval: 50 * ms, Multiplier: 3}})
	b.hear(final)
	if s := b.Status(); !s.Polling || s.Transmission != 10*ms {
		t.Errorf("second poll: %+v", s)
	}
	b.hear(final)
	if s := b.Status(); s.Polling || s.Transmission != 50*ms {
		t.Errorf("second poll answered: %+v", s)
	}

	// The multiplier needs none.
	b.Step(b.now, bfd.Reconfigure{Params: bfd.Params{Interval: 50 * ms, Multiplier: 9}})
	if b.Status().Polling {
		t.Error("a poll for the multiplier")
	}
}

func TestSessionBFD_TMR_05(t *testing.T) {
	b := to(t, bfd.Up)
	b.Step(b.now, bfd.Reconfigure{Params: bfd.Params{Interval: 40 * ms, Multiplier: 3}}) // our own poll
	p := peer(bfd.Up)
	p.Poll = true
	answer := sent(b.hear(p))
	if len(answer) != 1 || !answer[0].Final || answer[0].Poll {
		t.Errorf("answer to P: %v", answer)
	}
	if got := sent(b.hear(peer(bfd.Up))); len(got) != 0 {
		t.Errorf("answer without P: %v", got)
	}
	for _, p := range sent(b.run(20 * ms)) {
		if !p.Poll || p.Final {
			t.Errorf("scheduled packet %v, want P", p)
		}
	}
}

func TestSessionBFD_TMR_06(t *testing.T) {
	b := to(t, bfd.Up)
	p := peer(bfd.Up)
	p.MinRx, p.Multiplier = 0, 100
	b.hear(p)
	if got := sent(b.run(900 * ms)); len(got) != 0 {
		t.Errorf("sent %v", got)
	}
	p.MinRx = 10 * ms
	b.hear(p)
	if got := sent(b.run(100 * ms)); len(got) < 10 {
		t.Errorf("%d packets once they are wanted again", len(got))
	}
}

// TestSessionBFD_TMR_08: 3 packets of 300 ms are 900 ms.
func TestSessionBFD_TMR_08(t *testing.T) {
	b := newBench(t, bfd.Params{Interval: 300 * ms, Multiplier: 3})
	b.up()
	p := peer(bfd.Up)
	p.MinTx = 300 * ms
	b.hear(p)
	if got := b.Status().Detection; got != 900*ms {
		t.Errorf("detection time %s", got)
	}
}

// TestSessionBFD_VR_02: what we end ourselves is no failure, and is told again
// when asked.
func TestSessionBFD_VR_02(t *testing.T) {
	b := to(t, bfd.Up)
	actions := slices.Clone(b.Step(b.now, bfd.Disable{}))
	if tr := transitions(actions); len(tr) != 1 || tr[0].To != bfd.AdminDown || tr[0].Failed() {
		t.Errorf("%v", tr)
	}
	again := sent(b.Step(b.now, bfd.Disable{}))
	want := []bfd.Packet{{
		State: bfd.AdminDown, Diag: bfd.DiagAdminDown, Multiplier: 1, MyDiscriminator: 0x11, YourDiscriminator: 0x22,
		MinTx: time.Second, MinRx: 10 * ms,
	}}
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("farewell (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, sent(actions)); diff != "" {
		t.Errorf("first farewell (-want +got):\n%s", diff)
	}
	if !b.Deadline().IsZero() {
		t.Error("a session that is AdminDown has a deadline")
	}
}

// TestSessionBFD_VR_05: a detection time whose end we missed ourselves by more
// than itself is void, once.
func TestSessionBFD_VR_05(t *testing.T) {
	b := to(t, bfd.Up)
	b.now = b.now.Add(61 * ms) // 31 ms after the end of 30 ms
	actions := slices.Clone(b.Step(b.now, bfd.Tick{}))
	if len(transitions(actions)) != 0 || b.Status().Counters.Voided != 1 {
		t.Fatalf("%v", actions)
	}
	if v, ok := actions[0].(bfd.Voided); !ok || v.Late != 31*ms {
		t.Errorf("%v", actions[0])
	}
	b.now = b.now.Add(61 * ms)
	actions = b.Step(b.now, bfd.Tick{})
	if got := transitions(actions); len(got) != 1 || !got[0].Failed() {
		t.Errorf("the second time: %v", actions)
	}

	// Heard in between, it may happen again.
	b = to(t, bfd.Up)
	for range 2 {
		b.now = b.now.Add(61 * ms)
		b.Step(b.now, bfd.Tick{})
		b.hear(peer(bfd.Up))
	}
	b.is(bfd.Up)
	if got := b.Status().Counters.Voided; got != 2 {
		t.Errorf("voided %d times, want 2", got)
	}

	// A little late is on time: what had arrived was read before.
	b = to(t, bfd.Up)
	b.now = b.now.Add(59 * ms)
	if got := transitions(b.Step(b.now, bfd.Tick{})); len(got) != 1 || !got[0].Failed() {
		t.Errorf("29 ms late: %v", got)
	}
}

// TestSessionDetectsFromArrival: the detection time runs from when the kernel got
// the packet.
func TestSessionDetectsFromArrival(t *testing.T) {
	b := to(t, bfd.Up)
	p := peer(bfd.Up)
	arrived := b.now.Add(5 * ms)
	b.now = b.now.Add(20 * ms)
	b.Step(b.now, bfd.Received{At: arrived, Packet: &p})
	b.run(arrived.Add(30*ms).Sub(b.now) - 1)
	b.is(bfd.Up)
	b.run(1)
	b.is(bfd.Down)
}

// TestSessionFalseAlarm: a peer that is back as the same process was not dead, and
// the next time is not believed before the session was up for a while. Another
// process is another matter.
func TestSessionFalseAlarm(t *testing.T) {
	// again brings the session up with a process of the peer, keeps it up, and
	// returns its end by silence.
	again := func(b *bench, discriminator uint32, up time.Duration) bfd.Transition {
		b.Helper()
		for _, state := range []bfd.State{bfd.Init, bfd.Up} {
			p := peer(state)
			p.MyDiscriminator = discriminator
			b.hear(p)
		}
		b.is(bfd.Up)
		for end := b.now.Add(up); b.now.Before(end); {
			b.run(20 * ms)
			p := peer(bfd.Up)
			p.MyDiscriminator = discriminator
			b.hear(p)
		}
		tr := transitions(b.run(100 * ms))
		if len(tr) != 1 || tr[0].Diag != bfd.DiagExpired {
			b.Fatalf("%v", tr)
		}
		return tr[0]
	}
	b := newBench(t, fast)
	b.run(0)
	for i, c := range []struct {
		process uint32
		up      time.Duration
		failed  bool
	}{
		{0x22, time.Second, true},
		{0x33, time.Second, true},
		{0x33, 9 * time.Second, false},
		{0x33, 19 * time.Second, false},
		{0x33, 41 * time.Second, true},
		{0x33, time.Second, false},
		{0x44, 9 * time.Second, false},
		{0x44, 21 * time.Second, true},
		{0x55, time.Second, true},
	} {
		if got := again(b, c.process, c.up); got.Failed() != c.failed {
			t.Errorf("%d, %+v: failed %v", i, c, got.Failed())
		}
	}
	if got := b.Status().Counters.FalseAlarms; got != 5 {
		t.Errorf("%d false alarms", got)
	}
}
