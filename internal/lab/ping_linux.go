package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"lvsha/internal/cmsg"
)

// Pinger sends ICMP echo requests at a steady pace and keeps when each was
// answered, by the kernel's time stamps. The kernel answers, so it measures who
// holds the address. What measures must not be late itself: it sends with
// real-time priority where it may.
type Pinger struct {
	conn          *net.IPConn
	dst           *net.IPAddr
	kind          echo
	cancel        context.CancelFunc
	sending, done sync.WaitGroup // of the sender, and of the receiver
	err           error          // of the sender, valid after sending

	mu     sync.Mutex // guards what follows
	probes []Probe
	open   int  // probes without an answer
	ended  bool // no more probes are sent
	// dropped is how many answers the kernel had no room for: they count as lost
	// and are not.
	dropped uint32
}

// Probe is one echo request.
type Probe struct {
	Sent time.Time
	// Answered is zero for a probe that was lost.
	Answered time.Time
}

// echo is what an echo is in one family.
type echo struct {
	network        string
	request, reply icmp.Type
	protocol       int
}

const protocolICMP = 1

func echoOf(dst netip.Addr) echo {
	if dst.Is4() {
		return echo{"ip4:icmp", ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply, protocolICMP}
	}
	return echo{"ip6:ipv6-icmp", ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, 58}
}

// StartPing starts pinging dst from the host.
func StartPing(h *Host, dst netip.Addr, every time.Duration) (*Pinger, error) {
	p := &Pinger{dst: &net.IPAddr{IP: dst.AsSlice()}, kind: echoOf(dst)}
	err := h.Do(func() (err error) {
		if p.conn, err = net.ListenIP(p.kind.network, nil); err != nil {
			return err
		}
		return stamped(p.conn)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: opening an ICMP socket: %w", h.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.sending.Go(func() { p.err = p.send(ctx, every) })
	p.done.Go(p.receive)
	return p, nil
}

const pingID = 0x7673

// pingBuffer holds the answers of some ten seconds in which nobody reads.
const pingBuffer = 16 << 20

// stamped has a socket tell when the kernel received each packet, and how many it
// had no room for.
func stamped(conn *net.IPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, pingBuffer))
	})
	return errors.Join(err, set)
}

func (p *Pinger) send(ctx context.Context, every time.Duration) error {
	// The thread ends with the goroutine, so nobody else gets the priority.
	runtime.LockOSThread()
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 10, Flags: unix.SCHED_FLAG_RESET_ON_FORK}, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("giving the pinger a real-time priority: %w", err)
	}
	next := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		// One that is late does not catch up: a burst would be lost to queues on the way,
		// and a thread of this priority that never sleeps starves whoever answers.
		if next = next.Add(every); time.Since(next) > 0 {
			next = time.Now().Add(every / 2)
		}
		if wait := time.Until(next); wait > 0 {
			ts := unix.NsecToTimespec(int64(wait))
			// A signal makes one probe early, which does no harm.
			_ = unix.Nanosleep(&ts, nil)
		}
		data := binary.BigEndian.AppendUint32(nil, uint32(n))
		m := icmp.Message{Type: p.kind.request, Body: &icmp.Echo{ID: pingID, Seq: n & 0xffff, Data: data}}
		b, err := m.Marshal(nil)
		if err != nil {
			return fmt.Errorf("encoding an echo request: %w", err)
		}
		p.mu.Lock()
		p.probes = append(p.probes, Probe{Sent: time.Now()})
		p.open++
		p.mu.Unlock()
		// An unreachable address is a lost probe.
		if _, err := p.conn.WriteToIP(b, p.dst); errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	return nil
}

func (p *Pinger) receive() {
	b, oob := make([]byte, 1500), make([]byte, 256)
	for {
		n, oobn, _, _, err := p.conn.ReadMsgIP(b, oob)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		message := b[:n]
		if p.kind.protocol == protocolICMP && n > 0 {
			message = message[min(n, int(b[0]&0xf)*4):] // the IPv4 header
		}
		m, err := icmp.ParseMessage(p.kind.protocol, message)
		if err != nil || m.Type != p.kind.reply {
			continue
		}
		echo, ok := m.Body.(*icmp.Echo)
		if !ok || echo.ID != pingID || len(echo.Data) != 4 {
			continue
		}
		p.mu.Lock()
		if i := int(binary.BigEndian.Uint32(echo.Data)); i < len(p.probes) && p.probes[i].Answered.IsZero() {
			p.probes[i].Answered = stamp(oob[:oobn])
			p.open--
		}
		p.dropped = max(p.dropped, cmsg.Parse(oob[:oobn]).Drops)
		all := p.ended && p.open == 0
		p.mu.Unlock()
		if all {
			return
		}
	}
}

// Probes returns what happened to the probes sent so far.
func (p *Pinger) Probes() []Probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Probe(nil), p.probes...)
}

// lateAnswer is how long an answer may take before its probe is lost.
const lateAnswer = time.Second

// Stop ends the pinging, waits for late answers and returns all probes. It is an
// error when the measurement itself has lost answers.
func (p *Pinger) Stop() ([]Probe, error) {
	p.cancel()
	p.sending.Wait()
	p.mu.Lock()
	p.ended = true
	wait := lateAnswer
	if p.open == 0 {
		wait = 0
	}
	p.mu.Unlock()
	p.conn.SetReadDeadline(time.Now().Add(wait))
	p.done.Wait()
	p.conn.Close()
	if p.dropped > 0 && p.err == nil {
		p.err = fmt.Errorf("%d answers to probes were dropped on this machine, which says nothing of the other one", p.dropped)
	}
	return p.Probes(), p.err
}

// Lost counts the probes sent from one time to another that nobody answered.
func Lost(probes []Probe, from, to time.Time) int {
	n := 0
	for _, p := range probes {
		if !p.Sent.Before(from) && !p.Sent.After(to) && p.Answered.IsZero() {
			n++
		}
	}
	return n
}

// LostRuns are the probes that nobody answered, those that follow each other as one:
// when the first of a run was sent, relative to an event, and for how long.
func LostRuns(probes []Probe, event time.Time) (runs []string) {
	for i := 0; i < len(probes); i++ {
		if !probes[i].Answered.IsZero() {
			continue
		}
		first := i
		for i+1 < len(probes) && probes[i+1].Answered.IsZero() {
			i++
		}
		runs = append(runs, fmt.Sprintf("%d sent from %+.1f ms on, for %.1f ms", i-first+1,
			inMilliseconds(probes[first].Sent.Sub(event)), inMilliseconds(probes[i].Sent.Sub(probes[first].Sent))))
	}
	return runs
}

func inMilliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Outage returns the longest time between two answers in a row, the first of
// which came after from.
func Outage(probes []Probe, from time.Time) (begin, end time.Time) {
	var last time.Time
	for _, p := range probes {
		if p.Answered.Before(from) {
			continue
		}
		if !last.IsZero() && p.Answered.Sub(last) > end.Sub(begin) {
			begin, end = last, p.Answered
		}
		last = p.Answered
	}
	return begin, end
}
