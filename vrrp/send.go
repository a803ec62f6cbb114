package vrrp

import (
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
	var failed error
	for _, p := range packets {
		if err := e.opt.Port.Send(r.cfg.Interface, r.Source(), p.dst, p.payload); err != nil {
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
		e.opt.Heartbeat(r.key, e.opt.Boottime())
	}
}

// encode makes the packets of one advertisement.
func (e *Engine) encode(r *Router, priority uint8) []outgoing {
	destinations := r.cfg.Unicast
	if len(destinations) == 0 {
		destinations = []netip.Addr{GroupAddress(r.key.Family)}
	}
	adv := r.Advertisement(priority)
	var out []outgoing
	for _, dst := range destinations {
		b, err := adv.AppendTo(nil, r.Source(), dst, r.cfg.Checksum)
		if err != nil {
			// Validate lets nothing through that cannot be encoded.
			panic("vrrp: " + err.Error())
		}
		out = append(out, outgoing{dst, b})
	}
	return out
}
