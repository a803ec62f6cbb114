package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Pinger sends ICMP echo requests at a steady pace and keeps when each was
// answered. The kernel answers, so it measures who holds the address.
type Pinger struct {
	conn   *icmp.PacketConn
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
	network, any   string
	request, reply icmp.Type
	protocol       int
}

func echoOf(dst netip.Addr) echo {
	if dst.Is4() {
		return echo{"ip4:icmp", "0.0.0.0", ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply, 1}
	}
	return echo{"ip6:ipv6-icmp", "::", ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, 58}
}

// StartPing starts pinging dst from the host.
func StartPing(h *Host, dst netip.Addr, every time.Duration) (*Pinger, error) {
	p := &Pinger{dst: &net.IPAddr{IP: dst.AsSlice()}, kind: echoOf(dst)}
	err := h.Do(func() (err error) {
		p.conn, err = icmp.ListenPacket(p.kind.network, p.kind.any)
		return err
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

func (p *Pinger) send(ctx context.Context, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
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
		if _, err := p.conn.WriteTo(b, p.dst); errors.Is(err, net.ErrClosed) {
			return err
		}
	}
}

func (p *Pinger) receive() {
	b := make([]byte, 1500)
	for {
		n, _, err := p.conn.ReadFrom(b)
		now := time.Now()
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		m, err := icmp.ParseMessage(p.kind.protocol, b[:n])
		if err != nil || m.Type != p.kind.reply {
			continue
		}
		echo, ok := m.Body.(*icmp.Echo)
		if !ok || echo.ID != pingID || len(echo.Data) != 4 {
			continue
		}
		p.mu.Lock()
		if i := int(binary.BigEndian.Uint32(echo.Data)); i < len(p.probes) && p.probes[i].Answered.IsZero() {
			p.probes[i].Answered = now
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
