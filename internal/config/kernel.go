package config

import (
	"slices"

	"lvsha/ipvs"
)

// maxThreshold is the largest threshold of connections.
const maxThreshold = ipvs.MaxThreshold

// options reads what else the kernel does for a service: scheduler_flags and
// one_packet.
func (r *report) options(s section, svc *Service) {
	for _, n := range s.list("scheduler_flags") {
		name, ok := r.textOf(n)
		if !ok {
			continue
		}
		flag, err := ipvs.ParseSchedulerFlag(svc.Scheduler, name)
		if err != nil {
			r.at(n, "%v%s", err, didYouMean(name, ipvs.SchedulerFlagNames(svc.Scheduler)))
			continue
		}
		svc.Flags |= flag
	}
	svc.OnePacket = s.flag("one_packet")
	i := slices.IndexFunc(svc.Listen, func(l ipvs.ServiceKey) bool { return l.Mark == 0 && l.Protocol != ipvs.UDP })
	if svc.OnePacket && i >= 0 {
		s.bad("one_packet", "schedules each datagram for itself, and %s has none", svc.Listen[i])
		svc.OnePacket = false
	} else if svc.OnePacket && len(svc.Covers) > 0 && !slices.ContainsFunc(svc.Covers, func(c Cover) bool { return c.Protocol == ipvs.UDP }) {
		s.bad("one_packet", "schedules each datagram for itself, and %s has none", svc.Covers[0])
		svc.OnePacket = false
	}
}

// thresholds reads upper_threshold and lower_threshold.
func (s section) thresholds(server *Server) {
	server.UpperThreshold = s.number("upper_threshold", 0, 0, maxThreshold)
	server.LowerThreshold = s.number("lower_threshold", 0, 0, maxThreshold)
	if server.LowerThreshold > server.UpperThreshold {
		s.bad("lower_threshold", "want the upper threshold of %d at most, got %d", server.UpperThreshold, server.LowerThreshold)
		server.LowerThreshold = 0
	}
}

// tunnel reads tunnel, which is for forward = "tun".
func (r *report) tunnel(s section, forward ipvs.Forward, def ipvs.Tunnel) ipvs.Tunnel {
	if forward != ipvs.TUN {
		if s.keys["tunnel"] != nil && forward != 0 {
			s.bad("tunnel", "is for forward = \"tun\", and this is %q", forward)
		}
		return ipvs.Tunnel{}
	}
	if s.keys["tunnel"] == nil {
		return def
	}
	return r.tunnelOf(s)
}

// tunnelOf reads tunnel, whatever the forwarding method is.
func (r *report) tunnelOf(s section) (out ipvs.Tunnel) {
	n, ok := s.keys["tunnel"]
	if !ok {
		return out
	}
	before := len(r.problems)
	t, ok := r.section(n, tunnelKeys())
	if !ok {
		return out
	}
	switch t.word("type", "ipip", "gue", "gre") {
	case "gue":
		out.Type = ipvs.GUE
	case "gre":
		out.Type = ipvs.GRE
	}
	switch t.word("checksum", "none", "plain", "remote") {
	case "plain":
		out.Checksum = ipvs.PlainChecksum
	case "remote":
		out.Checksum = ipvs.RemoteChecksum
	}
	out.Port = uint16(t.number("port", 0, 1, 65535))
	if why := out.Problem(); why != "" && len(r.problems) == before {
		r.at(n, "%s", why)
	}
	return out
}

// On is the service as the kernel has it for one of its listens, without servers.
func (s Service) On(listen ipvs.ServiceKey) ipvs.Service {
	return ipvs.Service{
		Key: listen, Scheduler: s.Scheduler, Flags: s.Flags, OnePacket: s.OnePacket,
		Persistence: s.Persistence, PersistenceMask: s.PersistenceMask,
	}
}

// Destination is the server as the kernel has it under one listen.
func (s Server) Destination(listen ipvs.ServiceKey) ipvs.Destination {
	return ipvs.Destination{
		Addr: s.At(listen), Forward: s.Forward, Tunnel: s.Tunnel, Weight: s.Weight,
		UpperThreshold: s.UpperThreshold, LowerThreshold: s.LowerThreshold,
	}
}
