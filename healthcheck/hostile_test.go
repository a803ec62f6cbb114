package healthcheck_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/plain"
)

// attack is something done to what a server says in a correct dialogue.
type attack struct {
	name string
	// at is the octet that it begins at, skip how many are left out there, and put what
	// stands instead.
	at, skip int
	put      string
	then     then
}

// then is what follows an attack.
type then int

const (
	goOn then = iota
	hangUp
	endless // put, again and again
	drip    // everything, an octet at a time
)

func (a attack) String() string {
	return fmt.Sprintf("%s at %d (-%d +%d octets)", a.name, a.at, a.skip, len(a.put))
}

// attacks are those on a dialogue in which a server says some octets. Where a conversation
// is costly not every octet has its turn.
func attacks(said []byte, costly bool) (out []attack) {
	step := 1
	if costly {
		step = 1 + len(said)/60
	}
	add := func(name string, at, skip int, put string, next then) {
		out = append(out, attack{name, at, skip, put, next})
	}
	long := strings.Repeat("a", 64<<10)
	for at := 0; at < len(said); at += step {
		add("cut", at, 0, "", hangUp)
		for _, b := range []byte{0, 0xff, '\n', said[at] ^ 1, said[at] ^ 0x80, said[at] + 1} {
			add("octet", at, 1, string([]byte{b}), goOn)
		}
		for _, width := range []int{1, 2, 3, 4, 8} {
			add("huge", at, width, strings.Repeat("\xff", width), goOn)
			if width > 2 {
				add("huge signed", at, width, "\x7f"+strings.Repeat("\xff", width-1), goOn)
				add("large", at, width, strings.Repeat("\x00", width-2)+"\xff\xff", goOn)
			}
		}
		add("number", at, 1, "2147483647", goOn)
		add("length", at, 1, "\x84\x7f\xff\xff\xff", goOn)
		for _, text := range []string{"\x1b[2J\x07\x00", "\u202e\u2066", "\xff\xfe\xc0\x80", "\u009b2J"} {
			add("text", at, 0, text, goOn)
		}
		if at%7 == 0 || said[at] == '\n' {
			add("long line", at, 0, long+"\r\n", goOn)
		}
		if at%31 == 0 {
			for _, text := range []string{"a", said2(said, at), "\x00", "9", "\r\n", "[", "0"} {
				add("endless", at, 0, strings.Repeat(text, 1+4096/len(text)), endless)
			}
		}
	}
	add("drip", 0, 0, "", drip)
	return out
}

// said2 is a piece of a dialogue, which an endless one repeats.
func said2(said []byte, at int) string { return string(said[at:min(len(said), at+24)]) }

// mutant is a server's end of a connection under attack.
type mutant struct {
	net.Conn
	attack *attack // nil for none
	// idle is how long the server waits for the client.
	idle    time.Duration
	off     int // of what the server says
	skip    int
	sent    *atomic.Int64
	record  *bytes.Buffer // of what is said without an attack
	stopped bool
}

func (m *mutant) Read(b []byte) (int, error) {
	m.Conn.SetReadDeadline(time.Now().Add(m.idle))
	return m.Conn.Read(b)
}

// SetDeadline and the like are the test's own.
func (*mutant) SetDeadline(time.Time) error      { return nil }
func (*mutant) SetReadDeadline(time.Time) error  { return nil }
func (*mutant) SetWriteDeadline(time.Time) error { return nil }

func (m *mutant) Write(b []byte) (int, error) {
	if m.stopped {
		return 0, net.ErrClosed
	}
	if m.attack == nil {
		m.record.Write(b)
		return m.Conn.Write(b)
	}
	if m.attack.then == drip {
		for i := range b {
			if _, err := m.Conn.Write(b[i : i+1]); err != nil {
				return 0, err
			}
			<-time.After(time.Millisecond)
		}
		return len(b), nil
	}
	out, again := m.attack.apply(b, m.off, &m.skip)
	m.off += len(b)
	m.sent.Add(int64(len(out)))
	if _, err := m.Conn.Write(out); err != nil {
		return 0, err
	}
	for flood := []byte(m.attack.put); again && m.attack.then == endless; {
		n, err := m.Conn.Write(flood)
		m.sent.Add(int64(n))
		if err != nil {
			return 0, err
		}
	}
	if again && m.attack.then == hangUp {
		m.stopped = true
		m.Conn.Close()
		return 0, net.ErrClosed
	}
	return len(b), nil
}

// apply does the attack to a piece that begins at an offset, and reports whether it was
// there.
func (a *attack) apply(b []byte, off int, skip *int) (out []byte, done bool) {
	at := a.at - off
	if at >= 0 && at < len(b) {
		out = append(append(out, b[:at]...), a.put...)
		b, *skip, done = b[at:], a.skip, true
	}
	n := min(*skip, len(b))
	*skip -= n
	if done && a.then == hangUp {
		return out, true
	}
	return append(out, b[n:]...), done
}

// stage is a server whose dialogue is attacked, at an address of its own.
type stage struct {
	addr   netip.AddrPort
	attack atomic.Pointer[attack]
	close  func()
}

// newStage serves a dialogue until close.
func newStage(t *testing.T, d dialogue, idle time.Duration, sent *atomic.Int64, record *bytes.Buffer) *stage {
	s := &stage{}
	if d.reply != nil {
		l, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var done sync.WaitGroup
		done.Go(func() {
			for buf := make([]byte, 64<<10); ; {
				n, from, err := l.ReadFrom(buf)
				if err != nil {
					return
				}
				b := d.reply(buf[:n])
				a := s.attack.Load()
				if a == nil {
					record.Write(b)
				} else {
					skip := 0
					b, _ = a.apply(b, 0, &skip)
				}
				sent.Add(int64(len(b)))
				for range 2 {
					l.WriteTo(b[:min(len(b), 60000)], from)
					if a == nil || a.then != endless {
						break
					}
				}
			}
		})
		s.addr = addrPort(l.LocalAddr().String())
		s.close = func() { l.Close(); done.Wait() }
		return s
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				d.serve(&mutant{Conn: c, attack: s.attack.Load(), idle: idle, sent: sent, record: record})
			})
		}
	})
	s.addr = addrPort(l.Addr().String())
	s.close = func() { l.Close(); conns.Wait() }
	return s
}

// ruler measures how late this machine wakes those up that slept, which is not a probe's
// fault.
type ruler struct {
	worst atomic.Int64
	// ticked is told of each measurement while somebody waits for it.
	ticked chan struct{}
	stop   chan struct{}
	done   sync.WaitGroup
}

func newRuler() *ruler {
	r := &ruler{stop: make(chan struct{}), ticked: make(chan struct{})}
	r.done.Go(func() {
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			began := time.Now()
			select {
			case <-r.stop:
				tick.Stop()
				return
			case <-tick.C:
			}
			if late := time.Since(began) - 5*time.Millisecond; late > time.Duration(r.worst.Load()) {
				r.worst.Store(int64(late))
			}
			select {
			case r.ticked <- struct{}{}:
			default:
			}
		}
	})
	return r
}

// slack is the worst since it was last asked. It waits for the measurement that is under
// way: what has just woken a probe up late may have woken the ruler up later still.
func (r *ruler) slack() time.Duration {
	<-r.ticked
	return time.Duration(r.worst.Swap(0))
}

// allocated is how many octets were ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// resident is how many octets of the process are in memory.
func resident(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

const (
	// hostileTimeout is that of a probe under attack, hostileGrace how much later it may end.
	hostileTimeout = 150 * time.Millisecond
	hostileGrace   = 100 * time.Millisecond
	// hostileStages is how many probes run at a time, hostileFloods how many under a flood.
	hostileStages = 96
	hostileFloods = 8
	// mostHeard is what a probe reads at most; what is sent beyond that waits in the kernel.
	mostHeard = 1280 << 10
	// hostileMemory is what a conversation may allocate, on both sides, besides eight times
	// of what was said; hostileCostly is that of one over TLS or HTTP/2.
	hostileMemory = 256 << 10
	hostileCostly = 640 << 10
	// mostExcused, and one of mostExcusedShare cases, may be late or use more memory beside
	// others when they do not alone: this machine has others to serve.
	mostExcused, mostExcusedShare = hostileStages, 8
)

// TestHostile does to every kind of check what a broken or hostile server can do: correct
// dialogues are cut, changed at each octet, made long, endless and slow. No probe panics,
// takes longer than it may, uses more memory than what was said explains, leaves anything
// behind, or says what a terminal would obey.
func TestHostile(t *testing.T) {
	log.SetOutput(io.Discard) // of net/http
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	all := dialogues(t)
	kinds := make(map[string]bool)
	for _, d := range all {
		kinds[d.ask.Kind()] = true
	}
	for _, name := range healthcheck.Kinds() {
		// The others over TLS are those in clear.
		if k, _ := healthcheck.KindOf(name); !kinds[name] && !k.Local && name != "ping" && !strings.HasSuffix(name, "s") {
			t.Errorf("nobody attacks %s", name)
		}
	}
	began, before, cases := time.Now(), resident(t), 0
	for _, d := range all {
		t.Run(d.name, func(t *testing.T) {
			nothingLeft(t, func(t *testing.T) { cases += attackAll(t, d) })
		})
	}
	after := resident(t)
	t.Logf("%d cases in %v; RSS %d MiB before, %d MiB after", cases, time.Since(began).Round(time.Millisecond), before>>20, after>>20)
	if after-before > 48<<20 {
		t.Errorf("RSS grew by %d MiB", (after-before)>>20)
	}
}

// attackAll attacks one dialogue in all ways.
func attackAll(t *testing.T, d dialogue) int {
	ask, err := d.ask.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	var record bytes.Buffer
	calm := newStage(t, d, 5*time.Second, &sent, &record)
	answer, err := probeOnce(t, ask, d.ask, calm.addr, 5*time.Second)
	calm.close()
	if err != nil || answer.Detail == "" {
		t.Fatalf("the dialogue is not correct: %v", err)
	}
	stages, asks := make([]*stage, hostileStages), make([]healthcheck.ProbeFunc, hostileStages)
	for i := range stages {
		stages[i] = newStage(t, d, 25*time.Millisecond, &sent, nil)
		defer stages[i].close()
		if asks[i], err = d.ask.Prepare(); err != nil { // a target's probes are one at a time
			t.Fatal(err)
		}
	}
	budget := uint64(hostileMemory)
	if d.costly || strings.Contains(d.name, "2") || d.name == "grpc" {
		budget = hostileCostly
	}
	r := newRuler()
	defer r.done.Wait()
	defer close(r.stop)
	most, excused := uint64(0), 0
	run := func(list []attack) (greedy bool, late []attack, slack time.Duration) {
		sent.Store(0)
		r.slack()
		start := allocated()
		var probes sync.WaitGroup
		took := make([]time.Duration, len(list))
		for i := range list {
			stages[i].attack.Store(&list[i])
			probes.Go(func() {
				from := time.Now()
				answer, err := probeOnce(t, asks[i], d.ask, stages[i].addr, hostileTimeout)
				took[i] = time.Since(from)
				if err != nil {
					answer.Detail = err.Error()
				}
				for _, text := range []string{answer.Detail, answer.Warning} {
					if plain.Text(text, 1<<20) != text || len(text) > 1000 {
						t.Errorf("%v: %.200q is not fit to be shown", list[i], text)
					}
					if strings.Contains(text, "passw0rd") {
						t.Errorf("%v: %q shows a secret", list[i], text)
					}
				}
			})
		}
		probes.Wait()
		slack = r.slack()
		for i := range took {
			if took[i] > hostileTimeout+hostileGrace+2*slack {
				late = append(late, list[i])
			}
		}
		used, may := allocated()-start, uint64(len(list))*budget+8*min(uint64(sent.Load()), uint64(len(list))*mostHeard)
		most = max(most, used/uint64(len(list)))
		return used > may, late, slack
	}
	list := attacks(record.Bytes(), d.costly)
	// What is endless keeps this machine busy, and has few beside it.
	floods := func(a attack) int {
		if a.then == endless {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b attack) int { return floods(a) - floods(b) })
	for begin, n := 0, 0; begin < len(list); begin += n {
		n = min(len(list)-begin, hostileStages)
		if floods(list[begin+n-1]) > 0 {
			n = min(n, hostileFloods)
		}
		batch := list[begin : begin+n]
		greedy, late, _ := run(batch)
		// Which one it was, and whether it was not the others beside it, shows when each is
		// alone: what a server said has the same effect again.
		if !greedy {
			batch = late
		}
		guilty := 0
		for _, a := range batch {
			alone, late, slack := run([]attack{a})
			if alone {
				t.Errorf("%v: too much memory for what was said, %d octets", a, sent.Load())
			}
			if len(late) > 0 {
				t.Errorf("%v: took longer than %v (this machine was %v late)", a, hostileTimeout+hostileGrace, slack)
			}
			if alone || len(late) > 0 {
				guilty++
			}
		}
		if guilty == 0 {
			excused += len(late)
			if greedy {
				excused++
			}
		}
	}
	// A fault that shows only where several are attacked at a time would be excused again
	// and again.
	if excused > mostExcused+len(list)/mostExcusedShare {
		t.Errorf("%d of %d cases were late, or used much memory, beside others and not alone", excused, len(list))
	}
	t.Logf("%d octets, %d cases, %d of them excused, %d KiB each at most on average", record.Len(), len(list), excused, most>>10)
	return len(list)
}

// probeOnce is one probe, which may not panic.
func probeOnce(t *testing.T, ask healthcheck.ProbeFunc, q healthcheck.Question, at netip.AddrPort, timeout time.Duration) (answer healthcheck.Answer, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = errors.New("panic")
			t.Errorf("panic: %v\n%s", cause, debug.Stack())
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return ask(ctx, healthcheck.Target{Server: at, Check: healthcheck.Check{Ask: q, Timeout: timeout}})
}
