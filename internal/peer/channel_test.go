package peer_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/internal/peer"
)

// node is a director of a test.
type node struct {
	*peer.Channel
	name    string
	cancel  context.CancelFunc
	done    chan struct{}
	mu      sync.Mutex
	changes []string
}

// cluster is directors on a fabric, in a synctest bubble.
type cluster struct {
	*testing.T
	fabric *fabric
	nodes  []*node
	keys   []ed25519.PrivateKey
}

func newCluster(t *testing.T, n int) *cluster {
	c := &cluster{T: t, fabric: newFabric()}
	for range n {
		key, err := peer.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		c.keys = append(c.keys, key)
	}
	return c
}

func name(i int) string { return fmt.Sprintf("lvs%d", i+1) }

func addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}) }

// config is the file as director i reads it.
func (c *cluster) config(i int) peer.Config {
	cfg := peer.Config{Name: name(i), Key: c.keys[i], Addresses: []netip.Addr{addr(i)}, Port: peer.DefaultPort, File: "one"}
	for j, key := range c.keys {
		if j != i {
			cfg.Peers = append(cfg.Peers, peer.Peer{
				Name: name(j), Pin: peer.PinOf(key), Addresses: []netip.Addr{addr(j)}, Port: peer.DefaultPort,
			})
		}
	}
	return cfg
}

// start runs director i.
func (c *cluster) start(i int, cfg peer.Config, kinds ...peer.Kind) *node {
	n := &node{name: name(i), done: make(chan struct{})}
	n.Channel = peer.New(peer.Options{Network: directors{c.fabric}, Version: "test", Kinds: kinds, OnChange: func(ch peer.Change) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.changes = append(n.changes, ch.Peer+": "+ch.Text)
	}})
	n.Configure(cfg)
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(n.done)
		if err := n.Run(ctx); err != nil {
			c.Error(err)
		}
	}()
	c.nodes = append(c.nodes, n)
	return n
}

func (n *node) stop() {
	n.cancel()
	<-n.done
}

func (c *cluster) stop() {
	for _, n := range c.nodes {
		n.stop()
	}
}

// told are the changes so far.
func (n *node) told() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.changes, "\n")
}

// sees is the status of one peer.
func (n *node) sees(name string) peer.PeerStatus {
	for _, p := range n.Snapshot().Peers {
		if p.Name == name {
			return p
		}
	}
	return peer.PeerStatus{}
}

// within waits for a condition, in the time of the bubble.
func (c *cluster) within(limit time.Duration, what string, holds func() bool) time.Duration {
	c.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		synctest.Wait()
		if holds() {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			for _, n := range c.nodes {
				c.Logf("%s: %+v\n%s", n.name, n.Snapshot(), n.told())
			}
			c.Fatalf("waited %s in vain: %s", limit, what)
		}
	}
}

func connected(a, b *node) func() bool {
	return func() bool { return a.sees(b.name).Connected && b.sees(a.name).Connected }
}

// TestMesh: three directors have one session for each pair, and keep it.
func TestMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		defer c.stop()
		var nodes []*node
		for i := range 3 {
			nodes = append(nodes, c.start(i, c.config(i)))
		}
		for i := range nodes {
			for j := range i {
				c.within(2*time.Second, "a session", connected(nodes[i], nodes[j]))
			}
		}
		time.Sleep(time.Minute)
		for i, a := range nodes {
			for j, b := range nodes {
				if i == j {
					continue
				}
				s := a.sees(b.name)
				if !s.Connected || s.Sessions != 1 || s.Hello.Name != b.name || s.Hello.Version != "test" || s.Hello.File != "one" {
					t.Errorf("%s sees %+v", a.name, s)
				}
			}
		}
	})
}

// TestCrossing: both dial at the same moment again and again; one session is left.
func TestCrossing(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 2)
			defer c.stop()
			c.fabric.setCut(true)
			a, b := c.start(0, c.config(0)), c.start(1, c.config(1))
			time.Sleep(10 * time.Second)
			c.fabric.setCut(false)
			c.within(2*time.Second, "a session", connected(a, b))
			time.Sleep(20 * time.Second)
			before := a.sees("lvs2").Sessions
			time.Sleep(time.Minute)
			if s := a.sees("lvs2"); !s.Connected || s.Sessions != before || before > 2 {
				t.Errorf("%d sessions, then %+v", before, s)
			}
		})
	}
}

// TestCutAndHealed: silence ends a session, and it is back within two seconds.
func TestCutAndHealed(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 2)
			defer c.stop()
			a, b := c.start(0, c.config(0)), c.start(1, c.config(1))
			c.within(2*time.Second, "a session", connected(a, b))
			time.Sleep(10 * time.Second)
			c.fabric.setCut(true)
			c.within(6*time.Second, "both notice", func() bool {
				return !a.sees("lvs2").Connected && !b.sees("lvs1").Connected
			})
			if got := a.told(); !strings.Contains(got, "lvs2: connection lost: nothing was heard for 4s") {
				t.Errorf("told %q", got)
			}
			time.Sleep(17 * time.Second)
			if s := a.sees("lvs2"); s.Problem != "timeout" {
				t.Errorf("the problem is %q", s.Problem)
			}
			c.fabric.setCut(false)
			c.within(2*time.Second, "a session again", connected(a, b))
			if s := a.sees("lvs2"); s.Restarts != 0 {
				t.Errorf("%d restarts of a process that went on", s.Restarts)
			}
		})
	}
}

// TestRestart: a new process is known by its epoch, also when the old one
// vanished without a word.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		defer c.stop()
		a, b := c.start(0, c.config(0)), c.start(1, c.config(1))
		c.within(2*time.Second, "a session", connected(a, b))
		b.stop()
		c.within(time.Second, "the end is known", func() bool { return !a.sees("lvs2").Connected })
		if got := a.told(); !strings.Contains(got, "it said: lvs2 stops for good") {
			t.Errorf("told %q", got)
		}
		if !a.sees("lvs2").Left {
			t.Error("lvs2 has stopped and does not count as gone")
		}
		b2 := c.start(1, c.config(1))
		c.within(4*time.Second, "a session with the next process", connected(a, b2))
		if a.sees("lvs2").Left {
			t.Error("lvs2 is back and counts as gone")
		}
		b2.Restarting()
		b2.stop()
		c.within(time.Second, "the restart is known", func() bool { return !a.sees("lvs2").Connected })
		if a.sees("lvs2").Left || !strings.Contains(a.told(), "it said: lvs2 restarts") {
			t.Errorf("a restart counts as the end: %+v", a.sees("lvs2"))
		}
		b3 := c.start(1, c.config(1))
		c.within(4*time.Second, "a session with the one after it", connected(a, b3))
		// A former version, which is being upgraded, has one word for both.
		b3.FormerFarewell()
		b3.stop()
		c.within(time.Second, "the upgrade is known", func() bool { return !a.sees("lvs2").Connected })
		if a.sees("lvs2").Left || !strings.HasSuffix(strings.TrimSpace(a.told()), "it said: lvs2 stops") {
			t.Errorf("an upgrade counts as the end: %+v, told %q", a.sees("lvs2"), a.told())
		}
		b4 := c.start(1, c.config(1))
		c.within(4*time.Second, "a session with the upgraded one", connected(a, b4))
		// A process that fails, or whose release does, has addresses still.
		b4.Holding()
		b4.stop()
		c.within(time.Second, "the failure is known", func() bool { return !a.sees("lvs2").Connected })
		if a.sees("lvs2").Left || !strings.Contains(a.told(), "it said: lvs2 ends, and has not given everything up") {
			t.Errorf("a failure counts as the end: %+v, told %q", a.sees("lvs2"), a.told())
		}
		b5 := c.start(1, c.config(1))
		c.within(4*time.Second, "a session with the one after that", connected(a, b5))
		b5.Holding()
		b5.GivenUp()
		b5.stop()
		c.within(time.Second, "the end is known", func() bool { return !a.sees("lvs2").Connected })
		if !a.sees("lvs2").Left {
			t.Error("lvs2 has given everything up and does not count as gone")
		}
		b6 := c.start(1, c.config(1))
		c.within(4*time.Second, "a session with the last one", connected(a, b6))
		if s := a.sees("lvs2"); s.Restarts != 5 || !strings.Contains(a.told(), "which was started again") {
			t.Errorf("%+v, told %q", s, a.told())
		}
	})
}

// TestKeys: only the key of the file opens the channel, and both ends say why not.
func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		name       string
		change     func(c *cluster, one, two *peer.Config)
		one, two   string // problems
		wrong, off bool
	}{
		{"lvs2 has another key than lvs1's file says", func(c *cluster, one, _ *peer.Config) {
			other, _ := peer.NewKey()
			one.Peers[0].Pin = peer.PinOf(other)
		}, "lvs2 (192.0.2.2) presents a key that is not the one in the file", "lvs1 (192.0.2.1) does not accept our key: it is not the one in its file", true, false},
		{"lvs1's file has no key of lvs2", func(_ *cluster, one, _ *peer.Config) { one.Peers[0].Pin = peer.Pin{} },
			"no key in the file", "connection refused", false, false},
		{"lvs1 has no key", func(_ *cluster, one, _ *peer.Config) { one.Key = nil }, "", "connection refused", false, true},
		{"no address", func(_ *cluster, one, two *peer.Config) { one.Peers[0].Addresses, two.Addresses = nil, nil },
			"the file has no address of it", "the file has no address of a family that both directors have", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 2)
				defer c.stop()
				one, two := c.config(0), c.config(1)
				tt.change(c, &one, &two)
				a, b := c.start(0, one), c.start(1, two)
				time.Sleep(20 * time.Second)
				if s := a.sees("lvs2"); s.Connected || s.Problem != tt.one || s.Sessions > 0 {
					t.Errorf("lvs1 sees %+v, want %q", s, tt.one)
				}
				if s := b.sees("lvs1"); s.Connected || s.Problem != tt.two || s.Sessions > 0 {
					t.Errorf("lvs2 sees %+v, want %q", s, tt.two)
				}
				if s := a.sees("lvs2"); (s.WrongKeys > 0) != tt.wrong {
					t.Errorf("%d wrong keys", s.WrongKeys)
				}
				if tt.wrong && strings.Count(a.told(), "presents a key") != 1 {
					t.Errorf("told %q", a.told())
				}
				if tt.off && (len(a.Snapshot().Peers) > 0 || len(a.Snapshot().Listeners) > 0) {
					t.Errorf("off, and there is %+v", a.Snapshot())
				}
				// What is mended works.
				a.Configure(c.config(0))
				b.Configure(c.config(1))
				c.within(5*time.Second, "a session", connected(a, b))
			})
		})
	}
}

// TestReload: sessions with peers that do not change go on, and a new hash of
// the file is told.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		defer c.stop()
		a, b := c.start(0, c.config(0)), c.start(1, c.config(1))
		c.start(2, c.config(2))
		c.within(2*time.Second, "a session", connected(a, b))
		c.within(2*time.Second, "a session", connected(a, c.nodes[2]))
		cfg := c.config(0)
		cfg.File = "two"
		cfg.Peers = cfg.Peers[:1]
		a.Configure(cfg)
		c.within(time.Second, "the other end sees the new file", func() bool { return b.sees("lvs1").Hello.File == "two" })
		if s := b.sees("lvs1"); s.Sessions != 1 {
			t.Errorf("%d sessions", s.Sessions)
		}
		c.within(time.Second, "the third is gone", func() bool { return !c.nodes[2].sees("lvs1").Connected })
		if got := c.nodes[2].told(); !strings.Contains(got, "it said: it is no longer in the file of lvs1") {
			t.Errorf("told %q", got)
		}
		// Another key for lvs1 ends its sessions; once it is in the file, they are back.
		key, _ := peer.NewKey()
		c.keys[0] = key
		a.Configure(c.config(0))
		time.Sleep(5 * time.Second)
		if a.sees("lvs2").Connected || b.sees("lvs1").WrongKeys == 0 {
			t.Errorf("with a key that nobody knows: %+v", b.sees("lvs1"))
		}
		b.Configure(c.config(1))
		c.within(5*time.Second, "a session with the new key", connected(a, b))
	})
}

// TestUserOfADirector: somebody without privileges on a director's machine, who opens
// connections as fast as he can, keeps neither that director out nor this one busy.
func TestUserOfADirector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		defer c.stop()
		// Only the connection that comes in counts.
		cfg := c.config(0)
		cfg.Peers[0].Port = 1
		a := c.start(0, cfg)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan int)
		go func() {
			opened := 0
			for ; ctx.Err() == nil; opened++ {
				if conn, err := c.fabric.Dial(ctx, addr(1), netip.AddrPortFrom(addr(0), peer.DefaultPort)); err == nil {
					defer conn.Close()
				}
				time.Sleep(10 * time.Millisecond)
			}
			ended <- opened
		}()
		time.Sleep(5 * time.Second)
		b := c.start(1, c.config(1))
		c.within(5*time.Second, "a session all the same", connected(a, b))
		time.Sleep(10 * time.Second)
		if s := a.sees("lvs2"); !s.Connected || s.Sessions != 1 {
			t.Errorf("the session did not last: %+v", s)
		}
		stop()
		if opened := <-ended; opened < 1000 {
			t.Errorf("only %d connections were opened", opened)
		}
	})
}

// TestStrangers: who is no director gets nowhere, and not many get there at once.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		defer c.stop()
		a := c.start(0, c.config(0))
		synctest.Wait()
		at := netip.AddrPortFrom(addr(0), peer.DefaultPort)
		// From an address of nobody.
		for range 100 {
			conn, err := c.fabric.Dial(t.Context(), netip.MustParseAddr("198.51.100.1"), at)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("read %d, %v", n, err)
			}
		}
		// From lvs2's, and silent.
		for range 50 {
			conn, err := c.fabric.Dial(t.Context(), addr(1), at)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			synctest.Wait()
		}
		if got := a.Snapshot().Refused; got[peer.RefusedStranger] != 100 || got[peer.RefusedTooMany] != 46 {
			t.Errorf("refused %v", got)
		}
		time.Sleep(6 * time.Second)
		if got := a.Snapshot().Refused; got[peer.RefusedHandshake] != 4 {
			t.Errorf("refused %v", got)
		}
		// From lvs2's, with TLS and a key of its own, or none, or garbage.
		key, _ := peer.NewKey()
		for _, config := range []*tls.Config{
			{InsecureSkipVerify: true, NextProtos: []string{"lvsha/1"}},
			{InsecureSkipVerify: true, NextProtos: []string{"h2"}},
			{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12},
			peer.TLSConfig(key),
		} {
			raw, err := c.fabric.Dial(t.Context(), addr(1), at)
			if err != nil {
				t.Fatal(err)
			}
			conn := tls.Client(raw, config)
			if err = conn.Handshake(); err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
			if err == nil {
				t.Error("a stranger was let in")
			}
			raw.Close()
			time.Sleep(time.Second)
		}
		raw, err := c.fabric.Dial(t.Context(), addr(1), at)
		if err != nil {
			t.Fatal(err)
		}
		raw.Write(bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 100))
		time.Sleep(time.Second)
		raw.Close()
		if got := a.Snapshot().Refused; got[peer.RefusedHandshake] != 9 {
			t.Errorf("refused %v", got)
		}
		b := c.start(1, c.config(1))
		c.within(5*time.Second, "a session after all that", connected(a, b))
	})
}

// TestGarbage: a peer with the right key that does not keep to the protocol is
// closed, with a reason.
func TestGarbage(t *testing.T) {
	frame := func(typ byte, kind string, payload []byte) []byte { return peer.AppendFrame(nil, typ, kind, payload) }
	hello := func(text string) []byte { return frame(1, "", []byte(text)) }
	const good = `{"protocol":1,"epoch":"x","name":"lvs2","kinds":{"test":1048576}}`
	flood := func(n, size int) (out []byte) {
		for range n {
			out = append(out, frame(3, "test", make([]byte, size))...)
		}
		return out
	}
	for _, tt := range []struct {
		name string
		sent []byte
		want string
	}{
		{"another version", hello(`{"protocol":2,"epoch":"x"}`), "speaks version 2 of the channel, and we speak 1"},
		{"a hello that is none", hello("garbage"), "a hello that cannot be read"},
		{"a hello without epoch", hello(`{"protocol":1}`), "a hello without an epoch"},
		{"a hello with a window of nothing", hello(`{"protocol":1,"epoch":"x","kinds":{"test":1}}`), "a window of 1 octets"},
		{"no hello", frame(2, "", nil), "does not begin with a hello"},
		{"a hello that is too long", binary.BigEndian.AppendUint32(nil, 1<<20), "a frame is longer than it may be"},
		{"a frame that is too long", append(hello(good), 0xff, 0xff, 0xff, 0xff), "a frame is longer than it may be"},
		{"a frame that is too short", append(hello(good), 0, 0, 0, 1, 3), "a frame is shorter than what it must have"},
		{"a credit out of bounds", append(hello(good), frame(4, "test", []byte{0xff, 0, 0, 0})...), "a credit of"},
		{"more than the window", append(hello(good), flood(20, 60<<10)...), `more than its window allows of "test"`},
		{"many empty messages", append(hello(good), flood(20000, 0)...), `more than its window allows of "test"`},
		{"a message the room refuses", append(hello(strings.ReplaceAll(good, "test", "picky")), frame(3, "picky", []byte("no"))...), `a message of "picky": no`},
		{"a frame that is cut short", append(hello(good), 0, 0, 1, 0, 3), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 2)
				defer c.stop()
				// lvs1 is the one that does not dial at once.
				if one, two := peer.PinOf(c.keys[0]), peer.PinOf(c.keys[1]); bytes.Compare(one[:], two[:]) < 0 {
					c.keys[0], c.keys[1] = c.keys[1], c.keys[0]
				}
				block := func(ctx context.Context, _ *peer.Session, _ []byte) error {
					<-ctx.Done()
					return ctx.Err()
				}
				refuse := func(_ context.Context, _ *peer.Session, payload []byte) error { return errors.New(string(payload)) }
				a := c.start(0, c.config(0), peer.Kind{Name: "test", Receive: block}, peer.Kind{Name: "picky", Receive: refuse})
				synctest.Wait()
				raw, err := c.fabric.Dial(t.Context(), addr(1), netip.AddrPortFrom(addr(0), peer.DefaultPort))
				if err != nil {
					t.Fatal(err)
				}
				defer raw.Close()
				conn := tls.Client(raw, peer.TLSConfig(c.keys[1]))
				go func() {
					conn.Write(tt.sent)
					if tt.want == "" {
						raw.Close() // truncated
					}
				}()
				go io.Copy(io.Discard, conn)
				time.Sleep(time.Second)
				synctest.Wait()
				s := a.sees("lvs2")
				if s.Connected || !strings.Contains(s.Problem, tt.want) {
					t.Errorf("sees %+v, want %q", s, tt.want)
				}
			})
		})
	}
}

// TestUnknown: what this version does not know is ignored and counted.
func TestUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		defer c.stop()
		a := c.start(0, c.config(0))
		synctest.Wait()
		raw, err := c.fabric.Dial(t.Context(), addr(1), netip.AddrPortFrom(addr(0), peer.DefaultPort))
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		conn := tls.Client(raw, peer.TLSConfig(c.keys[1]))
		out := peer.AppendFrame(nil, 1, "", []byte(`{"protocol":1,"epoch":"x","kinds":{"future":1048576},"colour":"red"}`))
		out = peer.AppendFrame(out, 3, "future", []byte("hello"))
		out = peer.AppendFrame(out, 77, "", nil)
		if _, err := conn.Write(out); err != nil {
			t.Fatal(err)
		}
		go io.Copy(io.Discard, conn)
		synctest.Wait()
		if s := a.sees("lvs2"); !s.Connected || s.UnknownKinds != 1 || s.UnknownFrames != 1 {
			t.Errorf("sees %+v", s)
		}
		session, ok := a.Session("lvs2")
		if !ok || session.Knows("future") {
			t.Error("knows a kind that nobody registered here")
		}
		if err := session.Send(t.Context(), "future", nil); err != peer.ErrUnknownKind {
			t.Errorf("Send: %v", err)
		}
	})
}
