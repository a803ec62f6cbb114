package vrrp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// outgoing is an encoded advertisement for one destination.
type outgoing struct {
	dst     netip.Addr
	payload []byte
}

// send transmits an advertisement at once, before any address is touched.
func (e *Engine) send(m *member, priority uint8) {
	r := m.router
	packets := m.packet
	if priority != m.packetPriority || len(packets) == 0 {
		packets = e.encode(r, priority)
		m.packet, m.packetPriority = packets, priority
	}
	if r.cfg.Auth.signs() {
		m.sign(e.opt.Wallclock(), packets)
	}
	var failed error
	for _, p := range packets {
		if err := e.opt.Port.Send(r.cfg.Interface, r.cfg.sender(), r.Source(), p.dst, p.payload); err != nil {
			r.counters.SendErrors++
			failed = err
			continue
		}
		r.counters.AdvertisementsSent++
	}
	switch {
	case failed == nil:
		m.sendErr = ""
	case m.sendErr == "":
		m.sendErr = fmt.Sprintf("sending an advertisement on %s: %v", r.cfg.Interface, failed)
		e.notice(Notice{Router: r.cfg.Name, Key: r.key, Kind: NoticeOperation, Text: m.sendErr, At: time.Now()})
	}
	if priority > 0 && e.opt.Heartbeat != nil {
		// The clocks were compared when the loop woke.
		e.opt.Heartbeat(r.key, e.lastBoottime+time.Since(e.lastMonotonic))
	}
}

// encode makes the packets of one advertisement, with room for the trailer of
// those that will be signed.
func (e *Engine) encode(r *Router, priority uint8) []outgoing {
	destinations := r.cfg.Unicast
	if len(destinations) == 0 {
		destinations = []netip.Addr{GroupAddress(r.key.Family)}
	}
	adv := r.Advertisement(priority)
	if auth := r.cfg.Auth; auth != nil && auth.Password != "" {
		adv.AuthType, adv.AuthData = passwordAuth, password(auth)
	}
	var out []outgoing
	for _, dst := range destinations {
		b, err := adv.AppendTo(nil, r.Source(), dst, r.cfg.checksumWith(dst))
		if err != nil {
			// Validate lets nothing through that cannot be encoded.
			panic("vrrp: " + err.Error())
		}
		if r.cfg.Auth.signs() {
			b = append(b, make([]byte, trailerLen)...)
		}
		out = append(out, outgoing{dst, b})
	}
	return out
}

// sign signs the packets of one advertisement once: they differ only in what
// the signature does not cover.
func (m *member) sign(wall time.Time, packets []outgoing) {
	src := m.router.Source()
	m.auth.configure(&m.router.cfg)
	m.auth.sign(wall, src, packets[0].payload)
	end := len(packets[0].payload) - trailerLen
	for _, p := range packets[1:] {
		copy(p.payload[end:], packets[0].payload[end:])
	}
	if src.Is4() {
		return
	}
	for _, p := range packets {
		binary.BigEndian.PutUint16(p.payload[6:], checksum(pseudoSum(src, p.dst, len(p.payload)), p.payload))
	}
}
