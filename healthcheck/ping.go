package healthcheck

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// The numbers of ICMP that icmp.ParseMessage wants.
const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// Ping wants an answer to an ICMP echo request.
type Ping struct{}

var _ Question = Ping{}

// Kind is "ping".
func (Ping) Kind() string { return "ping" }

// String is empty.
func (Ping) String() string { return "" }

// Prepare is part of Question.
func (q Ping) Prepare() (ProbeFunc, error) { return q.probe, nil }

// probe sends one ICMP echo request and waits for its answer, through a raw
// socket of its own that hears the server only (needs CAP_NET_RAW). A lost
// packet is a failure: Fall is there for that.
func (Ping) probe(ctx context.Context, t Target) (Answer, error) {
	addr := t.Server.Addr().Unmap()
	network, protocol := "ip4:icmp", protocolICMP
	var request, reply icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if addr.Is6() {
		network, protocol, request, reply = "ip6:ipv6-icmp", protocolICMPv6, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, addr.String())
	if errors.Is(err, os.ErrPermission) {
		return Answer{}, fmt.Errorf("%w: opening a raw socket: %w (needs CAP_NET_RAW)", ErrInconclusive, err)
	}
	if err != nil {
		return Answer{}, dialError(err, t)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) // fails on a closed socket only
	defer stop()

	// Other programs ping too; the token tells whose answer it is.
	token := make([]byte, 16)
	rand.Read(token) // never fails
	echo := &icmp.Echo{ID: int(binary.BigEndian.Uint16(token)), Seq: 1, Data: token}
	packet, err := (&icmp.Message{Type: request, Body: echo}).Marshal(nil)
	if err != nil {
		return Answer{}, fmt.Errorf("encoding an echo request: %w", err)
	}
	began := time.Now()
	if _, err := conn.Write(packet); err != nil {
		return Answer{}, ownFault(err)
	}
	buf := make([]byte, 1500)
	for {
		n, err := conn.Read(buf)
		switch {
		case ctx.Err() != nil || isTimeout(err):
			return Answer{}, &timeoutError{after: t.Check.Timeout, doing: "waiting for an answer to the ping", silent: true}
		case err != nil:
			return Answer{}, ownFault(err)
		}
		if answers(buf[:n], protocol, addr, reply, token) {
			return Answer{Detail: fmt.Sprintf("answered in %s", time.Since(began).Round(10*time.Microsecond))}, nil
		}
	}
}

// answers says whether a packet is the echo of a token.
func answers(b []byte, protocol int, addr netip.Addr, reply icmp.Type, token []byte) bool {
	if addr.Is4() && len(b) > 0 && b[0]>>4 == 4 {
		// Package net takes the IPv4 header off, but not on every system.
		if length := int(b[0]&0x0f) * 4; length <= len(b) {
			b = b[length:]
		}
	}
	m, err := icmp.ParseMessage(protocol, b)
	if err != nil || m.Type != reply {
		return false
	}
	echo, ok := m.Body.(*icmp.Echo)
	return ok && bytes.Equal(echo.Data, token)
}
