package bfd_test

import (
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/bfd"
	"lvsha/internal/bfd/bfdtest"
)

// node is an Engine on a segment.
type node struct {
	testing.TB
	*bfd.Engine
	port *bfdtest.Port
	addr netip.Addr
	done chan error

	mu   sync.Mutex // guards what follows
	seen []bfd.Transition
}

func newNode(t testing.TB, segment *bfdtest.Segment, addr string) *node {
	n := &node{TB: t, addr: netip.MustParseAddr(addr), done: make(chan error, 1)}
	n.port = segment.NewPort(n.addr)
	n.Engine = bfd.New(bfd.Options{Port: n.port, OnTransition: func(tr bfd.Transition) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.seen = append(n.seen, tr)
	}})
	go func() { n.done <- n.Run(t.Context()) }()
	return n
}

// config lets neighbours in and watches some of them.
func (n *node) config(watch ...netip.Addr) bfd.Config {
	network := bfd.Network{Interface: "eth0", IPv6: n.addr.Is6()}
	c := bfd.Config{Params: fast, Networks: []bfd.LocalNetwork{{Network: network, Local: n.addr}}}
	for _, peer := range watch {
		c.Watch = append(c.Watch, bfd.Key{Interface: "eth0", Local: n.addr, Peer: peer})
	}
	return c
}

func (n *node) configure(c bfd.Config) {
	n.Helper()
	if err := n.Configure(n.Context(), c); err != nil {
		n.Fatal(err)
	}
}

func (n *node) stop() {
	n.Helper()
	n.Stop()
	if err := <-n.done; err != nil {
		n.Error(err)
	}
}

// session is the only one.
func (n *node) session() bfd.Status {
	n.Helper()
	sessions, drops := n.Snapshot()
	if len(sessions) != 1 {
		n.Fatalf("sessions %+v, drops %v", sessions, drops)
	}
	return sessions[0]
}

// failures are the deaths that were told, and forgets them.
func (n *node) failures() (failed []bfd.Transition) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, tr := range n.seen {
		if tr.Failed() {
			failed = append(failed, tr)
		}
	}
	n.seen = nil
	return failed
}

// pair has b watch a, which waits for whoever comes.
func pair(t testing.TB) (segment *bfdtest.Segment, a, b *node) {
	segment = &bfdtest.Segment{}
	a, b = newNode(t, segment, "10.0.0.1"), newNode(t, segment, "10.0.0.2")
	a.configure(a.config())
	b.configure(b.config(a.addr))
	time.Sleep(time.Second)
	for _, n := range []*node{a, b} {
		if s := n.session(); s.State != bfd.Up || s.Detection != 30*ms || s.Polling {
			t.Fatalf("%+v", s)
		}
	}
	return segment, a, b
}

// TestEngineGuest: the side that is watched knows of it by the first packet only.
func TestEngineGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		if a.session().Watched || !b.session().Watched {
			t.Errorf("%+v, %+v", a.session(), b.session())
		}
		b.stop()
		if s := a.session(); s.State != bfd.Down || s.RemoteState != bfd.AdminDown || len(a.failures()) != 0 {
			t.Errorf("after the stop of the other: %+v", s)
		}
		time.Sleep(30 * time.Second)
		if sessions, _ := a.Snapshot(); len(sessions) != 0 {
			t.Errorf("a session that nobody wants: %+v", sessions)
		}
		a.stop()
	})
}

// TestEngineDetects_BFD_VR_01: a neighbour that falls silent is found dead
// within three packets.
func TestEngineDetects_BFD_VR_01(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		segment, a, b := pair(t)
		segment.Lose(func(k bfd.Key) bool { return k.Local == a.addr })
		died := time.Now()
		time.Sleep(50 * ms)
		failed := b.failures()
		if len(failed) != 1 || failed[0].Key.Peer != a.addr || failed[0].At.Sub(died) > 30*ms {
			t.Errorf("failures %v", failed)
		}
		// The other one was told, and it is no failure for it.
		if s := a.session(); s.State != bfd.Down || s.Diag != bfd.DiagNeighborDown || len(a.failures()) != 0 {
			t.Errorf("%+v", s)
		}
		segment.Lose(nil)
		time.Sleep(3 * time.Second)
		if b.session().State != bfd.Up {
			t.Errorf("not up again: %+v", b.session())
		}
		a.stop()
		b.stop()
	})
}

// TestEngineRestart_BFD_VR_02: the process of the watched side is replaced. Its
// farewell keeps that from being a death, although most of its packets are lost,
// and the next process is met soon.
func TestEngineRestart_BFD_VR_02(t *testing.T) {
	for _, pause := range []time.Duration{0, 100 * ms, time.Second, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			segment, a, b := pair(t)
			lost := 0
			segment.Lose(func(k bfd.Key) bool {
				if k.Local == a.addr {
					lost++
				}
				return k.Local == a.addr && lost%5 != 4
			})
			a.stop()
			segment.Lose(nil)
			time.Sleep(pause)
			next := newNode(t, segment, "10.0.0.1")
			next.configure(next.config())
			time.Sleep(3 * time.Second)
			if failed := b.failures(); len(failed) != 0 {
				t.Errorf("pause %s: a restart was a death: %v", pause, failed)
			}
			if b.session().State != bfd.Up || next.session().State != bfd.Up {
				t.Errorf("pause %s: %+v", pause, b.session())
			}
			next.stop()
			b.stop()
		})
	}
}

// TestEngineReconfigure: parameters change by poll, without the session ending.
func TestEngineReconfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		since := b.session().Since
		for _, interval := range []time.Duration{50 * ms, 10 * ms} {
			c := b.config(a.addr)
			c.Params = bfd.Params{Interval: interval, Multiplier: 5}
			b.configure(c)
			time.Sleep(time.Second)
			sa, sb := a.session(), b.session()
			if sa.Detection != 5*interval || sb.Detection != 3*interval || sa.Transmission != interval || sb.Polling {
				t.Errorf("%s: %+v, %+v", interval, sa, sb)
			}
		}
		if !b.session().Since.Equal(since) {
			t.Error("the session ended meanwhile")
		}
		a.stop()
		b.stop()
	})
}

// TestEngineRoles: who watches whom changes, and the session goes on.
func TestEngineRoles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		since := a.session().Since
		b.configure(b.config())
		a.configure(a.config(b.addr))
		time.Sleep(time.Minute)
		if s := a.session(); s.State != bfd.Up || !s.Since.Equal(since) || !s.Watched || b.session().Watched {
			t.Errorf("%+v", s)
		}
		// One that nobody answered goes at once.
		ghost := netip.MustParseAddr("10.0.0.77")
		b.configure(b.config(ghost))
		if sessions, _ := b.Snapshot(); len(sessions) != 2 {
			t.Errorf("%+v", sessions)
		}
		time.Sleep(time.Second)
		b.configure(b.config())
		b.session()
		// Without the network there is no session, which the other is told.
		c := b.config()
		c.Networks = nil
		b.configure(c)
		time.Sleep(10 * ms)
		if sessions, _ := b.Snapshot(); len(sessions) != 0 {
			t.Errorf("%+v", sessions)
		}
		if s := a.session(); s.State != bfd.Down || s.RemoteState != bfd.AdminDown || len(a.failures()) != 0 {
			t.Errorf("%+v", s)
		}
		a.stop()
		b.stop()
	})
}

// TestEngineInterface: an interface that is made again, or is not there yet.
func TestEngineInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		a.port.Remake(true)
		time.Sleep(5 * time.Second)
		if s := a.session(); s.State != bfd.Down || s.Problem == "" {
			t.Errorf("without interface: %+v", s)
		}
		a.port.Remake(false)
		time.Sleep(5 * time.Second)
		if s := a.session(); s.State != bfd.Up || s.Problem != "" || b.session().State != bfd.Up {
			t.Errorf("with it again: %+v", s)
		}
		a.stop()
		b.stop()
	})
}

// TestEngineReceiveBFD_RX_02_PKT_02: what a stranger, or a packet out of place,
// is worth (BFD-RX-02, BFD-PKT-02).
func TestEngineReceiveBFD_RX_02_PKT_02(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		known := a.session().Local
		ordinary := func() bfd.Packet {
			return bfd.Packet{State: bfd.Down, Multiplier: 3, MyDiscriminator: 0x99, MinTx: time.Second, MinRx: time.Second}
		}
		stranger := netip.MustParseAddr("10.0.0.66")
		for _, c := range []struct {
			name   string
			want   bfd.Reason
			change func(*bfd.Packet, *bfd.Datagram)
		}{
			{"TTL 254", bfd.BadTTL, func(_ *bfd.Packet, d *bfd.Datagram) { d.TTL = 254 }},
			{"unknown discriminator", bfd.UnknownDiscriminator, func(p *bfd.Packet, _ *bfd.Datagram) { p.YourDiscriminator = known + 1 }},
			{"Init without discriminator", bfd.NoDiscriminator, func(p *bfd.Packet, _ *bfd.Datagram) { p.State = bfd.Init }},
			{"Up without discriminator", bfd.NoDiscriminator, func(p *bfd.Packet, _ *bfd.Datagram) { p.State = bfd.Up }},
			{"AdminDown of a stranger", bfd.NoSession, func(p *bfd.Packet, _ *bfd.Datagram) { p.State = bfd.AdminDown }},
			{"not on this interface", bfd.NoSession, func(p *bfd.Packet, d *bfd.Datagram) { d.Source = a.addr }},
			{"no BFD at all", bfd.TooShort, nil},
		} {
			_, before := a.Snapshot()
			p, d := ordinary(), bfd.Datagram{Interface: "eth0", Source: stranger, Destination: a.addr, TTL: 255}
			if c.change != nil {
				c.change(&p, &d)
				d.Payload = p.Append(nil)
			}
			a.port.Inject(d)
			time.Sleep(time.Microsecond)
			_, after := a.Snapshot()
			if got := after[c.want] - before[c.want]; got != 1 {
				t.Errorf("%s: counted %d times as %q: %v", c.name, got, c.want, after)
			}
			a.session() // still only one
		}

		// With the right discriminator the sender's address does not matter.
		p := ordinary()
		p.YourDiscriminator = known
		a.port.Inject(bfd.Datagram{Interface: "eth0", Source: stranger, Destination: a.addr, TTL: 255, Payload: p.Append(nil)})
		time.Sleep(time.Microsecond)
		if s := a.session(); s.State != bfd.Down || s.Remote != 0x99 {
			t.Errorf("selected by discriminator: %+v", s)
		}
		if failed := a.failures(); len(failed) != 0 {
			t.Errorf("a forged Down was a death: %v", failed)
		}

		// A crowd of strangers finds the room full, and goes again.
		for i := range 100 {
			p := ordinary()
			a.port.Inject(bfd.Datagram{
				Interface: "eth0", Source: netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), Destination: a.addr, TTL: 255, Payload: p.Append(nil),
			})
		}
		time.Sleep(time.Microsecond)
		if sessions, drops := a.Snapshot(); len(sessions) != 32 || drops[bfd.NoSession] < 60 {
			t.Errorf("%d sessions, drops %v", len(sessions), drops)
		}
		time.Sleep(time.Minute)
		if s := a.session(); s.Key.Peer != b.addr || s.State != bfd.Up {
			t.Errorf("who is left: %+v", s)
		}
		a.stop()
		b.stop()
	})
}

func TestEngineValidates(t *testing.T) {
	e := bfd.New(bfd.Options{Port: (&bfdtest.Segment{}).NewPort()})
	for _, p := range []bfd.Params{{}, {Interval: time.Second}, {Interval: time.Microsecond, Multiplier: 1}, {Interval: 2 * time.Hour, Multiplier: 1}} {
		if err := e.Configure(t.Context(), bfd.Config{Params: p}); err == nil {
			t.Errorf("%+v was accepted", p)
		}
	}
	e.Stop()
	if diff := cmp.Diff(bfd.ErrStopped.Error(), e.Configure(t.Context(), bfd.Config{Params: fast}).Error()); diff != "" {
		t.Error(diff)
	}
	if err := e.Run(t.Context()); err != nil {
		t.Error(err)
	}
}
