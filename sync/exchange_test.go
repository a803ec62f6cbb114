package connsync

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeKernel is the connection table and the sync daemons of a machine, by the rules
// of ip_vs_sync.c.
type fakeKernel struct {
	mu       sync.Mutex
	services []Service
	conns    map[ConnKey]*fakeConn
	queue    [][]byte
	queued   int
	room     int // of the backup daemon's socket, in octets
	dropped  uint64
	memory   int // how many entries there is memory for; zero is no bound
	taps     []*fakeTap
	// slow is how long each entry of a listing takes.
	slow time.Duration
	// hide passes entries over in a listing.
	hide func(ConnKey) bool
}

type fakeConn struct {
	Conn
	flags Flags
	mark  uint32
	bound *Server
	until time.Time
}

func newFakeKernel() *fakeKernel {
	return &fakeKernel{conns: make(map[ConnKey]*fakeConn), room: 200 << 10, services: []Service{{
		Protocol: protocolTCP, Virtual: ap("192.0.2.10:80"), Persistence: 300 * time.Second,
		Servers: []Server{{Addr: ap("192.0.2.21:80"), Forward: ForwardDR}, {Addr: ap("192.0.2.22:80"), Forward: ForwardDR}},
	}}}
}

// set changes the kernel.
func (k *fakeKernel) set(change func(*fakeKernel)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(k)
}

// expire removes what has run out. The caller holds the lock.
func (k *fakeKernel) expire() {
	now := time.Now()
	maps.DeleteFunc(k.conns, func(_ ConnKey, c *fakeConn) bool { return !c.until.After(now) })
}

func (k *fakeKernel) Conns(synced bool) iter.Seq2[Conn, error] {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire()
	var list []Conn
	for key, c := range k.conns {
		if k.hide == nil || !k.hide(key) {
			c.Expires = uint32(time.Until(c.until) / time.Second)
			list = append(list, c.Conn)
		}
	}
	slow := k.slow
	return func(yield func(Conn, error) bool) {
		for _, c := range list {
			time.Sleep(slow)
			if !yield(c, nil) {
				return
			}
		}
	}
}

func (k *fakeKernel) Intake(Daemon, func() []uint64) (Intake, error) { return fakeIntake{k}, nil }

type fakeIntake struct{ *fakeKernel }

func (in fakeIntake) Put(datagram []byte) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.queued+len(datagram) > in.room && in.queued > 0 {
		in.dropped++
		return nil
	}
	in.queue = append(in.queue, slices.Clone(datagram))
	in.queued += len(datagram)
	return nil
}

// Backlog lets the daemon read a little.
func (in fakeIntake) Backlog() (int, uint64, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for range min(4, len(in.queue)) {
		m, _ := Decode(in.queue[0])
		in.queued -= len(in.queue[0])
		in.queue = in.queue[1:]
		for _, r := range m.Records {
			in.process(r)
		}
	}
	return in.queued, in.dropped, nil
}

func (in fakeIntake) Close() error { return nil }

// process is ip_vs_proc_conn.
func (k *fakeKernel) process(r Record) {
	k.expire()
	c := k.conns[r.Key]
	if c != nil && c.Server != r.Server {
		if r.Flags&Inactive != 0 && !r.Key.Template {
			return
		}
		c = nil
	}
	if c == nil {
		if k.memory > 0 && len(k.conns) >= k.memory {
			return
		}
		c = &fakeConn{Conn: Conn{Key: r.Key, Server: r.Server, Synced: true}, mark: r.Mark}
		k.conns[r.Key] = c
	}
	if c.bound == nil {
		_, c.bound = NewPool(k.services).find(r.Key, r.Server, r.Mark)
	}
	timeout := time.Duration(r.Timeout) * time.Second
	if timeout == 0 {
		timeout = defaultTimeout(r.Key, r.State)
	}
	c.flags, c.State, c.until = r.Flags, r.State, time.Now().Add(timeout)
}

// open makes a connection as a packet does.
func (k *fakeKernel) open(key ConnKey, server int) { k.openTo(key, 0, server) }

// openTo makes one of a service.
func (k *fakeKernel) openTo(key ConnKey, service, server int) {
	k.mu.Lock()
	s := &k.services[service]
	to := &s.Servers[server]
	at := to.Addr
	if at.Port() == 0 {
		at = netip.AddrPortFrom(at.Addr(), key.Virtual.Port())
	}
	flags := to.Forward
	if flags != ForwardNAT {
		flags |= NoOutput
	}
	k.conns[key] = &fakeConn{
		Conn: Conn{Key: key, Server: at, State: tcpEstablished}, flags: flags, mark: s.Mark, bound: to, until: time.Now().Add(15 * time.Minute),
	}
	k.say(key)
	k.mu.Unlock()
}

// close ends a connection.
func (k *fakeKernel) close(key ConnKey) {
	k.mu.Lock()
	c := k.conns[key]
	c.State, c.flags, c.until = tcpClose, c.flags|Inactive, time.Now().Add(10*time.Second)
	k.say(key)
	k.mu.Unlock()
}

// say is the master daemon, without its buffer. The caller holds the lock.
func (k *fakeKernel) say(key ConnKey) {
	c := k.conns[key]
	r := Record{Key: key, Server: c.Server, Flags: c.flags, Mark: c.mark, State: c.State, Timeout: uint32(time.Until(c.until) / time.Second)}
	b, _ := AppendMessage(nil, 1, 1472, []Record{r})
	for _, t := range k.taps {
		t.said <- b
	}
}

func (k *fakeKernel) Tap(Daemon) (Hearer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := &fakeTap{said: make(chan []byte, 20000), closed: make(chan struct{})}
	k.taps = append(k.taps, t)
	return t, nil
}

type fakeTap struct {
	said   chan []byte
	closed chan struct{}
	once   sync.Once
	gap    atomic.Bool // the next message comes after one that was lost
}

func (t *fakeTap) Hear(b []byte) (int, bool, error) {
	select {
	case m := <-t.said:
		return copy(b, m), t.gap.Swap(false), nil
	case <-t.closed:
		return 0, false, errors.New("closed")
	}
}

func (t *fakeTap) Inode() uint64 { return 1 }

func (t *fakeTap) Close() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}

// pool counts what is bound.
func (k *fakeKernel) pool(context.Context, bool) (*Pool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire()
	if k.services == nil {
		return nil, errors.New("the services are not in the kernel yet")
	}
	services := slices.Clone(k.services)
	for i := range services {
		services[i].Servers = slices.Clone(services[i].Servers)
		for j := range services[i].Servers {
			s := &services[i].Servers[j]
			for _, c := range k.conns {
				switch {
				case c.bound == nil || c.bound.Addr != s.Addr:
				case c.Key.Template:
					s.Templates++
				case c.flags&Inactive != 0:
					s.Inactive++
				default:
					s.Active++
				}
			}
		}
	}
	return NewPool(services), nil
}

// keys are the connections, as a set.
func (k *fakeKernel) keys() map[ConnKey]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire()
	out := make(map[ConnKey]string)
	for key, c := range k.conns {
		if !key.passing(c.State) {
			out[key] = c.Server.String()
		}
	}
	return out
}

// node is a director.
type node struct {
	name   string
	kernel *fakeKernel
	*Exchange
	stop  context.CancelFunc
	done  chan struct{}
	waits atomic.Int32 // how often OnWait was told
	mu    sync.Mutex
	said  []string
}

// cluster is two directors whose channel can be cut.
type cluster struct {
	*testing.T
	nodes     [2]*node
	transport Transport
	mu        sync.Mutex // guards links
	links     [2]*fakeLink
	// idle is a director whose pulls are lost, and hung one whose tables are.
	idle, hung atomic.Pointer[node]
	// spoil changes what is sent, nil drops it.
	spoil atomic.Pointer[func(payload []byte) []byte]
}

func (c *cluster) spoilBy(f func([]byte) []byte) { c.spoil.Store(&f) }

// joined are the links, nil while the channel is cut.
func (c *cluster) joined() [2]*fakeLink {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.links
}

func (c *cluster) join(links [2]*fakeLink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.links = links
}

func newCluster(t *testing.T, transport Transport) *cluster {
	c := &cluster{T: t, transport: transport}
	for i := range c.nodes {
		c.nodes[i] = c.start(fmt.Sprintf("lvs%d", i+1), newFakeKernel())
	}
	t.Cleanup(func() {
		c.cut()
		for _, n := range c.nodes {
			n.stop()
			<-n.done
		}
	})
	return c
}

func (c *cluster) start(name string, kernel *fakeKernel) *node {
	other := map[string]string{"lvs1": "lvs2", "lvs2": "lvs1"}[name]
	return c.startBeside(name, kernel, []string{other}, func() []*fakeLink { links := c.joined(); return links[:] })
}

// startBeside starts a director beside others, with links that may be nil.
func (c *cluster) startBeside(name string, kernel *fakeKernel, others []string, links func() []*fakeLink) *node {
	n := &node{name: name, kernel: kernel, done: make(chan struct{})}
	n.Exchange = NewExchange(ExchangeOptions{
		System: kernel, Pool: kernel.pool, OnWait: func() { n.waits.Add(1) },
		Wake: func() {
			for _, l := range links() {
				if l != nil && l.from == n {
					l.compose()
				}
			}
		},
		Tell: func(_ slog.Level, _, text string) {
			n.mu.Lock()
			n.said = append(n.said, text)
			n.mu.Unlock()
		},
	})
	n.Set(ExchangeConfig{
		On: true, Daemons: Config{Interface: "eth0", ID: 1, Transport: c.transport}.Daemons(), Transport: c.transport,
		Others: others, Gate: DefaultGate, Refresh: time.Minute,
	})
	var ctx context.Context
	ctx, n.stop = context.WithCancel(c.Context())
	go func() {
		defer close(n.done)
		if err := n.Run(ctx); err != nil {
			c.Errorf("%s: %v", name, err)
		}
	}()
	return n
}

// reboot starts a director anew, with an empty kernel.
func (c *cluster) reboot(i int) {
	c.cut()
	c.nodes[i].stop()
	<-c.nodes[i].done
	c.nodes[i] = c.start(c.nodes[i].name, newFakeKernel())
}

// fakeLink carries messages one way.
type fakeLink struct {
	c        *cluster
	from, to *node
	back     *fakeLink
	mu       sync.Mutex
	queue    chan []byte
	closed   chan struct{}
	done     chan struct{}
}

func (l *fakeLink) Peer() string { return l.to.name }

func (l *fakeLink) Send(ctx context.Context, payload []byte) error {
	if payload[0] == sayPull && l.c.idle.Load() == l.from {
		return nil
	}
	if slices.Contains([]byte{sayBegin, sayRecords, sayEnd, sayWorking}, payload[0]) && l.c.hung.Load() == l.from {
		return nil
	}
	if spoil := l.c.spoil.Load(); spoil != nil {
		if payload = (*spoil)(payload); payload == nil {
			return nil
		}
	}
	select {
	case l.queue <- payload:
		return nil
	case <-l.closed:
		return errors.New("the session has ended")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *fakeLink) compose() {
	if b := l.from.Compose(l); b != nil {
		select {
		case l.queue <- b:
		case <-l.closed:
		}
	}
}

// connect joins both directors.
func (c *cluster) connect() { c.connectPair(c.nodes[0], c.nodes[1], c.join) }

// connectPair joins two directors, whose links it tells before it opens them.
func (c *cluster) connectPair(one, two *node, tell func([2]*fakeLink)) {
	var links [2]*fakeLink
	for i, ends := range [2][2]*node{{one, two}, {two, one}} {
		links[i] = &fakeLink{c: c, from: ends[0], to: ends[1], queue: make(chan []byte, 64), closed: make(chan struct{}), done: make(chan struct{})}
	}
	links[0].back, links[1].back = links[1], links[0]
	tell(links)
	for _, l := range links {
		l.from.Open(l)
	}
	for _, l := range links {
		go func() {
			defer close(l.done)
			ctx, cancel := context.WithCancel(c.Context())
			defer cancel()
			go func() {
				select {
				case <-l.closed:
					cancel()
				case <-ctx.Done():
				}
			}()
			for {
				select {
				case <-l.closed:
					return
				case payload := <-l.queue:
					if err := l.to.Receive(ctx, l.back, payload); err != nil {
						c.Logf("%s ends the session: %v", l.to.name, err)
						go c.cutLinks(links)
						return
					}
				}
			}
		}()
	}
}

func (c *cluster) cut() { c.cutLinks(c.joined()) }

func (c *cluster) cutLinks(links [2]*fakeLink) {
	if links[0] == nil {
		return
	}
	for _, l := range links {
		l.mu.Lock()
		select {
		case <-l.closed:
		default:
			close(l.closed)
		}
		l.mu.Unlock()
	}
	for _, l := range links {
		<-l.done
	}
	for _, l := range links {
		l.from.Close(l)
	}
	if c.joined() == links {
		c.join([2]*fakeLink{})
	}
}

// until waits for a condition, in simulated time.
func (c *cluster) until(what string, limit time.Duration, holds func() bool) {
	c.Helper()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			for _, n := range c.nodes {
				n.mu.Lock()
				c.Logf("%s: %+v\n%s", n.name, n.Snapshot(), strings.Join(n.said, "\n"))
				n.mu.Unlock()
			}
			c.Fatalf("waited %s for %s", limit, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// equal waits until both kernels have the same connections.
func (c *cluster) equal(limit time.Duration) {
	c.Helper()
	c.until("equal tables", limit, func() bool { return maps.Equal(c.nodes[0].kernel.keys(), c.nodes[1].kernel.keys()) })
}

var virtual = netip.MustParseAddr("192.0.2.10")

func key(i int) ConnKey {
	return ConnKey{Protocol: protocolTCP, Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 40000), Virtual: ap("192.0.2.10:80")}
}

// serve has the first director serve with so many connections.
func (c *cluster) serve(n int) {
	c.nodes[0].Serves([]netip.Addr{virtual})
	for i := range n {
		c.nodes[0].kernel.open(key(i), i%2)
	}
}

// transports run a test over both.
func transports(t *testing.T, test func(*testing.T, Transport)) {
	for _, transport := range []Transport{Multicast, Channel} {
		t.Run(string(transport), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, transport) })
		})
	}
}

// TestExchangeReboot: a director that comes back gets all connections, waits with
// its addresses until then, and says so.
func TestExchangeReboot(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		c := newCluster(t, transport)
		c.serve(3000)
		c.connect()
		c.equal(10 * time.Second)
		c.reboot(1)
		two := c.nodes[1]
		c.until("a reason to wait", time.Second, func() bool { return two.Waiting() != "" })
		c.connect()
		c.equal(10 * time.Second)
		c.until("no reason to wait", time.Second, func() bool { return two.Waiting() == "" })
		s := two.Snapshot()
		if p := s.Partners[0]; p.Last == nil || p.Last.Installed != 3000 || p.Last.Missing != 0 || p.Last.Compared != "entries" || p.Verified().IsZero() || s.State != "in sync" {
			t.Errorf("status %+v, %+v", s, p.Last)
		}
		if got := c.nodes[0].Snapshot().State; got != "in sync" {
			t.Errorf("the other one says %q", got)
		}
	})
}

// TestExchangeOneWay: nothing of a backup's table comes to a director that serves and
// was never away, so that what is over there does not come back.
func TestExchangeOneWay(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		c := newCluster(t, transport)
		c.serve(10)
		c.nodes[1].kernel.open(key(99), 0) // what nobody has
		c.until("serving", time.Minute, func() bool { return c.nodes[0].Waiting() == "" })
		c.connect()
		c.until("the backup's table", 10*time.Second, func() bool { return len(c.nodes[1].kernel.keys()) == 11 })
		c.cut()
		c.connect()
		time.Sleep(time.Minute)
		synctest.Wait()
		// As the last copy of what the one that serves may have lost it is offered, no more.
		why := c.nodes[0].Snapshot().Partners[0].Last.Why
		if _, came := c.nodes[0].kernel.keys()[key(99)]; came && why != "connected" && why != "it has entries that are not here" {
			t.Errorf("a backup's connection came to the director that serves: %s", why)
		}
	})
}

// TestExchangeGhosts: what is over on the director that serves goes on the other one
// too, after two looks, and nothing that lives.
func TestExchangeGhosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, Multicast)
		c.serve(200)
		c.connect()
		c.equal(10 * time.Second)
		one, two := c.nodes[0].kernel, c.nodes[1].kernel
		c.cut()
		for i := range 50 {
			one.mu.Lock()
			delete(one.conns, key(i))
			one.mu.Unlock()
		}
		// The listing passes over one that lives, once: the first look.
		looks := 0
		one.mu.Lock()
		one.hide = func(k ConnKey) bool {
			if k == key(100) {
				looks++
			}
			return k == key(100) && looks <= listings+2
		}
		one.mu.Unlock()
		// And the backup has one of an address that the other one does not serve.
		elsewhere := key(999)
		elsewhere.Virtual = ap("192.0.2.11:80")
		two.open(elsewhere, 0)
		c.connect()
		c.until("a second look", time.Minute, func() bool {
			last := c.nodes[1].Snapshot().Partners[0].Last
			return last != nil && last.Removed > 0
		})
		time.Sleep(5 * time.Second)
		keys := two.keys()
		for i := range 200 {
			if _, there := keys[key(i)]; there != (i >= 50) {
				t.Errorf("connection %d is there: %t", i, there)
			}
		}
		if _, there := keys[elsewhere]; !there {
			t.Error("a connection to another address was removed")
		}
	})
}

// TestExchangeGhostsOfItsOwn: an active director is stopped and comes back with its kernel's
// table, of which 50 connections have ended on the other one meanwhile. They go, though a
// packet made them here, and are not copied to the other one when the addresses come back.
func TestExchangeGhostsOfItsOwn(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		c := newCluster(t, transport)
		c.serve(200)
		c.connect()
		c.equal(10 * time.Second)
		one, two := c.nodes[0], c.nodes[1]
		handOver := func(from *node) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := from.HandOver(ctx); err != nil {
				t.Fatal(err)
			}
		}
		handOver(one)
		two.Serves([]netip.Addr{virtual})
		one.Serves(nil)
		time.Sleep(100 * time.Millisecond)
		handOver(one) // the last ones
		c.cut()
		one.stop()
		<-one.done
		for i := range 50 {
			two.kernel.close(key(i))
		}
		time.Sleep(time.Minute)
		c.nodes[0] = c.start("lvs1", one.kernel)
		one = c.nodes[0]
		c.until("a reason to wait", time.Second, func() bool { return one.Waiting() != "" })
		c.connect()
		c.until("no reason to wait", 20*time.Second, func() bool { return one.Waiting() == "" })
		if n := len(one.kernel.keys()); n != 150 {
			t.Errorf("it does not wait any more and has %d connections, want 150", n)
		}
		handOver(two)
		one.Serves([]netip.Addr{virtual})
		two.Serves(nil)
		time.Sleep(2 * time.Minute)
		for _, n := range c.nodes {
			if n := len(n.kernel.keys()); n != 150 {
				t.Errorf("%d connections in the end, want 150", n)
			}
		}
	})
}

// TestExchangeLastCopy: what the director that serves has lost, because its gate timed out
// or somebody emptied its table, is not over: the other one keeps it and offers it.
func TestExchangeLastCopy(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		for _, lose := range []struct {
			name string
			late bool
			do   func(c *cluster)
		}{
			{"a gate that timed out", true, func(c *cluster) {
				c.reboot(0)
				c.idle.Store(c.nodes[0])
				c.until("the gate", DefaultGate+5*time.Second, func() bool { return c.nodes[0].Waiting() == "" })
				c.nodes[0].Serves([]netip.Addr{virtual})
				time.Sleep(time.Minute)
				c.connect()
			}},
			{"a table that was emptied", true, func(c *cluster) {
				c.idle.Store(c.nodes[0])
				c.nodes[0].kernel.set(func(k *fakeKernel) { clear(k.conns) })
				if _, err := c.nodes[1].Resync(c.Context(), "", false); err != nil {
					c.Error(err)
				}
				if _, err := c.nodes[1].Resync(c.Context(), "", false); err != nil {
					c.Error(err)
				}
			}},
			{"a module that was loaded again while the channel was cut", false, func(c *cluster) {
				c.cut()
				c.nodes[0].kernel.set(func(k *fakeKernel) { clear(k.conns) })
				time.Sleep(5 * time.Second)
				c.connect()
			}},
		} {
			c := newCluster(t, transport)
			c.connect()
			c.until("each other", time.Minute, func() bool { return c.nodes[0].Waiting() == "" && c.nodes[1].Waiting() == "" })
			c.serve(100)
			c.until("all connections", time.Minute, func() bool { return len(c.nodes[1].kernel.keys()) == 100 })
			time.Sleep(time.Minute)
			if late := lose.late; late {
				// It does not take them before the other one has looked more than twice.
				time.AfterFunc(2*time.Minute, func() { c.idle.Store(nil) })
			}
			lose.do(c)
			c.until("the other one's looks", 5*time.Minute, func() bool { return c.idle.Load() == nil })
			c.until("the last copies", takeTimeout+time.Minute, func() bool { return len(c.nodes[0].kernel.keys()) == 100 })
			time.Sleep(time.Minute)
			for _, n := range c.nodes {
				if got := len(n.kernel.keys()); got != 100 {
					t.Errorf("%s: %s has %d connections, want 100", lose.name, n.name, got)
				}
			}
		}
	})
}

// TestExchangeDrops: what the backup daemon's socket drops is made good when it is next
// looked at, though it has dropped nothing before, or was opened anew since.
func TestExchangeDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, Multicast)
		c.serve(20)
		c.connect()
		c.equal(10 * time.Second)
		time.Sleep(20 * time.Second)
		next := 100
		for _, count := range []uint64{8, 9, 3} { // the last of another socket
			for range 8 {
				c.nodes[0].kernel.open(key(next), 0)
				next++
			}
			c.nodes[1].kernel.set(func(k *fakeKernel) { k.dropped = count })
			c.equal(meterEvery + 2*time.Second)
		}
		if got := c.nodes[1].Snapshot().Dropped; got != 3 {
			t.Errorf("%d drops, want 3", got)
		}
	})
}

// TestExchangeEngine: a client has a template for each Call-ID, and all are handed over,
// compared and, when they are over, removed one by one.
func TestExchangeEngine(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		c := newCluster(t, transport)
		call := func(i int) Conn {
			out := Conn{
				Key:    ConnKey{Protocol: protocolTCP, Template: true, Client: ap("192.0.2.9:0"), Virtual: ap("192.0.2.10:80")},
				Server: ap([]string{"192.0.2.21:80", "192.0.2.22:80"}[i%2]), State: 1, Engine: "sip", EngineData: fmt.Sprintf("%d@b.c", i),
			}
			out.Key.Engine = engineKey(out.Engine, out.EngineData)
			return out
		}
		one, two := c.nodes[0], c.nodes[1]
		one.Serves([]netip.Addr{virtual})
		one.kernel.set(func(k *fakeKernel) {
			for i := range 5 {
				conn := call(i)
				k.conns[conn.Key] = &fakeConn{Conn: conn, flags: ForwardDR | NoOutput | Template, bound: &k.services[0].Servers[i%2], until: time.Now().Add(time.Hour)}
			}
		})
		c.connect()
		c.until("five templates", 10*time.Second, func() bool { return len(two.kernel.keys()) == 5 })
		c.equal(time.Second)
		r, err := two.Resync(t.Context(), "", true)
		if err != nil || r.Records != 5 || r.Missing+r.Extra+r.Wrong != 0 {
			t.Errorf("compared: %+v, %v", r, err)
		}
		gone := call(3)
		for _, n := range c.nodes {
			n.kernel.set(func(k *fakeKernel) {
				// Of the kernel's listing, the data is what tells them apart.
				for _, conn := range k.conns {
					if conn.Engine == "" || conn.EngineData == "" {
						conn.Engine, conn.EngineData, _ = strings.Cut(conn.Key.Engine, " ")
					}
				}
			})
		}
		one.kernel.set(func(k *fakeKernel) { delete(k.conns, gone.Key) })
		c.until("one less", 5*time.Minute, func() bool {
			if _, err := two.Resync(t.Context(), "", false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			return len(two.kernel.keys()) == 4
		})
		if _, there := two.kernel.keys()[gone.Key]; there {
			t.Error("another one was removed")
		}
	})
}

// TestExchangeTemplatesOnly: of persistent services the templates are handed over and their
// connections are not, as the kernel has it, and that is no difference for ever.
func TestExchangeTemplatesOnly(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		c := newCluster(t, transport)
		for _, n := range c.nodes {
			n.Exchange.mu.Lock()
			cfg := n.cfg
			n.Exchange.mu.Unlock()
			cfg.TemplatesOnly = true
			n.Set(cfg)
		}
		one, two := c.nodes[0], c.nodes[1]
		time.Sleep(2 * tick)
		one.Serves([]netip.Addr{virtual})
		one.kernel.set(func(k *fakeKernel) {
			template := ConnKey{Protocol: protocolTCP, Template: true, Client: ap("192.0.2.9:0"), Virtual: ap("192.0.2.10:80")}
			to := &k.services[0].Servers[0]
			k.conns[template] = &fakeConn{Conn: Conn{Key: template, Server: to.Addr, State: 1}, flags: to.Forward | Template, bound: to, until: time.Now().Add(time.Hour)}
			for i := range 100 {
				k.conns[key(i)] = &fakeConn{Conn: Conn{Key: key(i), Server: to.Addr, State: tcpEstablished}, flags: to.Forward, bound: to, until: time.Now().Add(time.Hour)}
			}
		})
		// Of before, when this director had the addresses: it is not over.
		two.kernel.set(func(k *fakeKernel) {
			to := &k.services[0].Servers[1]
			k.conns[key(500)] = &fakeConn{Conn: Conn{Key: key(500), Server: to.Addr, State: tcpEstablished}, flags: to.Forward, bound: to, until: time.Now().Add(time.Hour)}
		})
		c.connect()
		c.until("the template", 10*time.Second, func() bool { return len(two.kernel.keys()) == 2 })
		first := two.Snapshot().Partners[0].Last.Began
		time.Sleep(4 * time.Minute)
		s := two.Snapshot()
		if last := s.Partners[0].Last; s.State != "in sync" || !last.Began.Equal(first) || last.Extra != 0 {
			t.Errorf("state %q, the first was at %s: %+v", s.State, first, last)
		}
		if n := len(two.kernel.keys()); n != 2 {
			t.Errorf("%d entries, want the template and what was there", n)
		}
	})
}

// TestSince: an entry that was seen going on, and is over or just begun at the second look,
// is told as it is: not as one to be removed, which another one of the same port may be by
// then.
func TestSince(t *testing.T) {
	before := tcp4
	before.withLeft(900)
	for _, state := range []uint16{tcpSynRecv, tcpTimeWait} {
		c := Conn{Key: tcp4.Key, Server: ap("192.0.2.22:80"), State: state, Expires: 57}
		changed := since([]Record{before}, nil, map[ConnKey]Conn{c.Key: c})
		if len(changed) != 1 {
			t.Fatalf("state %d: %+v", state, changed)
		}
		r := changed[0]
		if r.State != state || r.Timeout != 57 || r.Server != c.Server || (r.Flags&Inactive != 0) != (state == tcpTimeWait) {
			t.Errorf("state %d: told as %+v", state, r)
		}
	}
}

// TestExchangeLive: over the channel connections come as they are made, and go as
// they end; what was lost in between is made good.
func TestExchangeLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, Channel)
		c.serve(0)
		c.connect()
		c.until("the channel", 10*time.Second, func() bool { return c.nodes[1].Waiting() == "" })
		for i := range 500 {
			c.nodes[0].kernel.open(key(i), i%2)
		}
		c.equal(time.Second)
		for i := range 100 {
			c.nodes[0].kernel.close(key(i))
		}
		c.equal(time.Second)
		if n := len(c.nodes[1].kernel.keys()); n != 400 {
			t.Errorf("%d connections, want 400", n)
		}
		// The socket overflows.
		var taps []*fakeTap
		c.nodes[0].kernel.set(func(k *fakeKernel) { taps, k.taps = k.taps, nil })
		for i := 500; i < 600; i++ {
			c.nodes[0].kernel.open(key(i), i%2)
		}
		c.nodes[0].kernel.set(func(k *fakeKernel) { k.taps = taps })
		taps[len(taps)-1].gap.Store(true)
		c.nodes[0].kernel.open(key(600), 0)
		c.equal(10 * time.Second)
		if n := len(c.nodes[1].kernel.keys()); n != 501 {
			t.Errorf("%d connections, want 501", n)
		}
	})
}

// TestExchangeHandOver: a planned change waits until the other director has the very
// last connection.
func TestExchangeHandOver(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		c := newCluster(t, transport)
		if err := c.nodes[0].HandOver(t.Context()); !errors.Is(err, ErrNobody) {
			t.Errorf("with nobody: %v", err)
		}
		c.serve(100)
		c.connect()
		c.equal(10 * time.Second)
		c.nodes[0].kernel.set(func(k *fakeKernel) { k.taps = nil })
		for i := 100; i < 200; i++ {
			c.nodes[0].kernel.open(key(i), 0)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := c.nodes[0].HandOver(ctx); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(c.nodes[0].kernel.keys(), c.nodes[1].kernel.keys()) {
			t.Error("the tables differ after it")
		}
	})
}

// TestExchangeFaults: whatever happens on the way, the tables are equal in the end,
// and nothing that lives is removed.
func TestExchangeFaults(t *testing.T) {
	const count = 700
	for _, tt := range []struct {
		name  string
		fault func(t *testing.T, c *cluster)
	}{
		{"a socket of 8 KB", func(_ *testing.T, c *cluster) { c.nodes[1].kernel.set(func(k *fakeKernel) { k.room = 8 << 10 }) }},
		{"a socket for one message", func(_ *testing.T, c *cluster) { c.nodes[1].kernel.set(func(k *fakeKernel) { k.room = 1 }) }},
		{"truncated", func(_ *testing.T, c *cluster) { c.spoilBy(every(5, func(b []byte) []byte { return b[:len(b)-1] }, 3)) }},
		{"corrupt", func(_ *testing.T, c *cluster) {
			c.spoilBy(every(3, func(b []byte) []byte {
				if b[0] == sayLive {
					return b // the channel sees to those
				}
				b = slices.Clone(b)
				b[len(b)/2] ^= 0x55
				return b
			}, 2))
		}},
		{"lost", func(_ *testing.T, c *cluster) { c.spoilBy(every(4, func([]byte) []byte { return nil }, 3)) }},
		{"services that come later", func(t *testing.T, c *cluster) {
			k := c.nodes[1].kernel
			k.mu.Lock()
			services := k.services
			k.services = nil
			k.mu.Unlock()
			time.AfterFunc(3*time.Second, func() {
				k.mu.Lock()
				k.services = services
				k.mu.Unlock()
			})
		}},
		{"another pool at first", func(t *testing.T, c *cluster) {
			k := c.nodes[1].kernel
			k.mu.Lock()
			whole := slices.Clone(k.services)
			k.services = slices.Clone(whole)
			k.services[0].Servers = whole[0].Servers[:1]
			k.mu.Unlock()
			time.AfterFunc(10*time.Second, func() {
				k.mu.Lock()
				k.services = whole
				k.mu.Unlock()
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			transports(t, func(t *testing.T, transport Transport) {
				c := newCluster(t, transport)
				c.connect()
				c.until("each other", time.Minute, func() bool { return c.nodes[0].Waiting() == "" && c.nodes[1].Waiting() == "" })
				c.serve(count)
				c.reboot(1)
				tt.fault(t, c)
				c.connect()
				c.until("equal tables", 5*time.Minute, func() bool {
					if c.joined()[0] == nil {
						c.connect() // a session that was ended is begun again
					}
					return len(c.nodes[1].kernel.keys()) == count && c.nodes[1].Snapshot().State == "in sync"
				})
				k := c.nodes[1].kernel
				k.mu.Lock()
				defer k.mu.Unlock()
				for key, conn := range k.conns {
					if conn.bound == nil {
						t.Fatalf("%s belongs to no server", key)
					}
				}
			})
		})
	}
}

// every spoils each nth message, some times.
func every(n int, spoil func([]byte) []byte, times int) func([]byte) []byte {
	i := 0
	var mu sync.Mutex
	return func(b []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		if i++; i%n != 0 || times == 0 {
			return b
		}
		times--
		return spoil(b)
	}
}

// TestExchangeMemory: what the kernel has no room for is said to be missing.
func TestExchangeMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, Multicast)
		c.serve(500)
		c.nodes[1].kernel.set(func(k *fakeKernel) { k.memory = 300 })
		c.connect()
		c.until("a result", 30*time.Second, func() bool { return c.nodes[1].Snapshot().Partners[0].Last != nil })
		s := c.nodes[1].Snapshot()
		if s.Partners[0].Last.Missing != 200 || !strings.HasPrefix(s.State, "differs: of the connections of lvs1 200 are missing") {
			t.Errorf("state %q, %+v", s.State, s.Partners[0].Last)
		}
		c.nodes[1].kernel.set(func(k *fakeKernel) { k.memory = 0 })
		c.equal(time.Minute)
	})
}

// TestExchangeTwoActives: while both serve neither takes the other's word for what it
// knows, and both know all in the end.
func TestExchangeTwoActives(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		c := newCluster(t, transport)
		c.serve(100)
		c.connect()
		c.equal(10 * time.Second)
		c.cut()
		one, two := c.nodes[0], c.nodes[1]
		two.Serves([]netip.Addr{virtual})
		for i := range 100 { // the same clients' ports, to the other server
			two.kernel.open(key(i), 1-i%2)
		}
		for i := 100; i < 150; i++ {
			two.kernel.open(key(i), 0)
		}
		c.connect()
		time.Sleep(10 * time.Second)
		for i := range 100 {
			if got, want := one.kernel.keys()[key(i)], one.kernel.services[0].Servers[i%2].Addr.String(); got != want {
				t.Fatalf("connection %d of the first is on %s now, was on %s", i, got, want)
			}
			if got, want := two.kernel.keys()[key(i)], two.kernel.services[0].Servers[1-i%2].Addr.String(); got != want {
				t.Fatalf("connection %d of the second is on %s now, was on %s", i, got, want)
			}
		}
		two.Serves(nil)
		c.equal(2 * time.Minute)
		if n := len(one.kernel.keys()); n != 150 {
			t.Errorf("%d connections, want 150", n)
		}
	})
}

// TestExchangeCuts cuts the channel after each message of a takeover in turn.
func TestExchangeCuts(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		for at := 1; ; at++ {
			c := newCluster(t, transport)
			c.serve(400)
			sent := 0
			reached := false
			var mu sync.Mutex
			c.spoilBy(func(b []byte) []byte {
				mu.Lock()
				defer mu.Unlock()
				if sent++; sent == at {
					reached = true
					go c.cut()
				}
				return b
			})
			c.connect()
			c.until("equal tables", time.Minute, func() bool {
				if c.joined()[0] == nil {
					c.connect()
				}
				return len(c.nodes[1].kernel.keys()) == 400 && c.nodes[1].Snapshot().State == "in sync"
			})
			if !reached {
				t.Logf("%d messages", at-1)
				return
			}
		}
	})
}

// TestExchangeRandom has connections come and go at random while directors reboot
// and the channel is cut: in the end both kernels have the same.
func TestExchangeRandom(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		for seed := range uint64(8) {
			rng := rand.New(rand.NewPCG(seed, 1))
			c := newCluster(t, transport)
			c.serve(0)
			next := 0
			for range 60 {
				switch rng.IntN(8) {
				case 0:
					c.cut()
				case 1:
					if c.joined()[0] == nil {
						c.connect()
					}
				case 2:
					c.reboot(1)
				case 3:
					for k := range c.nodes[0].kernel.keys() {
						c.nodes[0].kernel.close(k)
						break
					}
				default:
					for range rng.IntN(40) {
						c.nodes[0].kernel.open(key(next), next%2)
						next++
					}
				}
				time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
			}
			if c.joined()[0] == nil {
				c.connect()
			}
			if transport == Multicast {
				// Nothing carries what the kernels would; a planned change does.
				c.until("a partner", time.Minute, func() bool { return c.nodes[0].HandOver(t.Context()) == nil })
			}
			have := c.nodes[0].kernel.keys()
			c.until("all connections", 2*time.Minute, func() bool {
				for k, server := range have {
					if c.nodes[1].kernel.keys()[k] != server {
						return false
					}
				}
				return true
			})
		}
	})
}

// TestExchangeBehind: a director that has lost the one that serves waits again, until it
// has what came meanwhile.
func TestExchangeBehind(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		c := newCluster(t, transport)
		c.serve(100)
		c.connect()
		two := c.nodes[1]
		c.until("no reason to wait", time.Minute, func() bool { return two.Waiting() == "" })
		time.Sleep(time.Minute)
		c.cut()
		c.until("a reason to wait", 2*time.Second, func() bool { return two.Waiting() != "" })
		for i := 100; i < 200; i++ {
			c.nodes[0].kernel.open(key(i), 0)
		}
		c.connect()
		c.until("no reason to wait", 10*time.Second, func() bool { return two.Waiting() == "" })
		if n := len(two.kernel.keys()); n != 200 {
			t.Errorf("it waits no more with %d of 200 connections", n)
		}
		if why := c.nodes[0].Waiting(); why != "" {
			t.Errorf("the director that serves waits: %s", why)
		}
		// Nobody waits for one that is dead for longer than the gate.
		c.cut()
		c.until("the gate", DefaultGate+2*time.Second, func() bool { return two.Waiting() == "" })
	})
}

// TestExchangeFlaps: a channel that comes and goes, so that no table gets through, keeps a
// director waiting for as long as the gate lasts from its start, and not for longer.
func TestExchangeFlaps(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		for _, through := range []bool{false, true} {
			c := newCluster(t, transport)
			c.serve(100)
			two := c.nodes[1]
			if !through {
				c.spoilBy(func(b []byte) []byte {
					if b[0] == sayRecords {
						return nil
					}
					return b
				})
			}
			began, waited := time.Now(), time.Duration(0)
			for time.Since(began) < 10*time.Minute {
				if c.joined()[0] == nil {
					c.connect()
				} else {
					c.cut()
				}
				for range 30 {
					time.Sleep(100 * time.Millisecond)
					if two.Waiting() != "" {
						waited += 100 * time.Millisecond
						if time.Since(began) > DefaultGate+2*time.Second {
							t.Fatalf("tables get through %t: it waits after %s: %s", through, time.Since(began), two.Waiting())
						}
					}
				}
			}
			if !through && waited < DefaultGate-2*time.Second {
				t.Errorf("it waited for %s, want %s", waited, DefaultGate)
			}
		}
	})
}

// TestExchangeTurnedOn: a reload that turns connection synchronisation on has the director
// wait for the connections of the one that serves, as a start has.
func TestExchangeTurnedOn(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		c := newCluster(t, transport)
		c.serve(100)
		two := c.nodes[1]
		two.Exchange.mu.Lock()
		on := two.cfg
		two.Exchange.mu.Unlock()
		two.Set(ExchangeConfig{Off: "the file has no [sync]"})
		time.Sleep(10 * time.Minute)
		if why := two.Waiting(); why != "" {
			t.Fatalf("it waits without [sync]: %s", why)
		}
		two.Set(on)
		told := two.waits.Load()
		if two.Waiting() == "" {
			t.Fatal("it does not wait")
		}
		if time.Sleep(tick); two.waits.Load() == told {
			t.Error("nobody is told that it waits")
		}
		c.connect()
		c.until("all connections", 10*time.Second, func() bool { return two.Waiting() == "" })
		if n := len(two.kernel.keys()); n != 100 {
			t.Errorf("it does not wait any more and has %d connections, want 100", n)
		}
	})
}

// TestExchangeCompare: an operator's comparison changes nothing and answers for itself;
// a takeover that an operator asks for puts in what is missing.
func TestExchangeCompare(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		c := newCluster(t, transport)
		two := c.nodes[1]
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := two.Resync(ctx, "", true); err == nil || err.Error() != "no other director is connected" {
			t.Errorf("with nobody: %v", err)
		}
		c.serve(100) // before the first pull: nothing carries the kernel's multicast here
		c.connect()
		c.until("in sync", time.Minute, func() bool { return len(two.kernel.keys()) == 100 && two.Snapshot().State == "in sync" })
		synctest.Wait() // for what may still put connections in
		two.kernel.set(func(k *fakeKernel) {
			for i := range 30 {
				delete(k.conns, key(i))
			}
		})
		r, err := two.Resync(ctx, "", true)
		if err != nil || r.Missing != 30 || r.Installed != 0 || len(two.kernel.keys()) != 70 {
			t.Errorf("comparison: %+v, %v, %d connections", r, err, len(two.kernel.keys()))
		}
		r, err = two.Resync(ctx, "lvs1", false)
		if err != nil || r.Missing != 0 || len(two.kernel.keys()) != 100 {
			t.Errorf("takeover: %+v, %v, %d connections", r, err, len(two.kernel.keys()))
		}
		if _, err := two.Resync(ctx, "lvs9", false); err == nil || err.Error() != `director "lvs9" is not connected` {
			t.Errorf("from nobody: %v", err)
		}
	})
}

// TestExchangeOrder: what a live record has told meanwhile is not undone by an older
// one of the table.
func TestExchangeOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, Channel)
		c.connect()
		c.serve(smallTable + 1000) // so that it is given from the shadow
		c.until("in sync", time.Minute, func() bool { return len(c.nodes[1].kernel.keys()) == smallTable+1000 })
		c.reboot(1)
		one, two := c.nodes[0], c.nodes[1]
		closed := false
		c.spoilBy(func(b []byte) []byte {
			if b[0] == sayRecords && !closed {
				closed = true
				// Heard and sent before the records that were made before.
				for i := range 50 {
					one.kernel.close(key(i))
				}
				one.kernel.open(key(60), 1-60%2) // moved to the other server
				time.Sleep(time.Second)
			}
			return b
		})
		c.connect()
		c.until("in sync", time.Minute, func() bool { return two.Snapshot().State == "in sync" })
		keys := two.kernel.keys()
		for i := range 50 {
			if _, back := keys[key(i)]; back {
				t.Fatalf("connection %d was closed and is established again", i)
			}
		}
		if got, want := keys[key(60)], one.kernel.keys()[key(60)]; got != want {
			t.Errorf("a connection that moved to %s is on %s", want, got)
		}
	})
}

// TestExchangeHandOverFails: a planned change hears of it when the other director could
// not take the connections over, and waits for its second try.
func TestExchangeHandOverFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, Multicast)
		c.serve(100)
		c.connect()
		c.until("in sync", time.Minute, func() bool { return len(c.nodes[1].kernel.keys()) == 100 })
		c.spoilBy(every(1, func(b []byte) []byte {
			if b[0] != sayRecords {
				return b
			}
			return nil
		}, 3))
		c.nodes[0].kernel.open(key(200), 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.nodes[0].HandOver(ctx); err != nil {
			t.Fatal(err)
		}
		if _, there := c.nodes[1].kernel.keys()[key(200)]; !there {
			t.Error("it was said to be done without the last connection")
		}
	})
}
