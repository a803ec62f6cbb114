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
)

// Pinger sends ICMP echo requests at a steady pace and keeps when each was
// answered, by the kernel's time stamps. The kernel answers, so it measures who
// holds the address. What measures must not be late itself: it sends with
// real-time priority where it may.
type Pinger struct {
	conn   *net.IPConn
	dst    *net.IPAddr
	kind   echo
	cancel context.CancelFunc
	done   sync.WaitGroup
	err    error // of the sender, valid after done

	mu     sync.Mutex // guards probes
	probes []Probe
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
	p.done.Go(func() { p.err = p.send(ctx, every) })
	p.done.Go(p.receive)
	return p, nil
}

const pingID = 0x7673

// stamped has a socket tell when the kernel received each packet.
func stamped(conn *net.IPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) })
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
		next = next.Add(every)
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
		}
		p.mu.Unlock()
	}
}

// Probes returns what happened to the probes sent so far.
func (p *Pinger) Probes() []Probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Probe(nil), p.probes...)
}

// Stop ends the pinging, waits for late answers and returns all probes.
func (p *Pinger) Stop() ([]Probe, error) {
	p.cancel()
	p.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	p.done.Wait()
	p.conn.Close()
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
