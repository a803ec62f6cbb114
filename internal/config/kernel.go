package config

import (
	"slices"
	"time"

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

// timeouts reads [ipvs].
func (r *report) timeouts(n *node) (out ipvs.Timeouts) {
	if n == nil {
		return out
	}
	s, ok := r.section(n, ipvsKeys())
	if !ok || s.keys["timeouts"] == nil {
		return out
	}
	t, ok := r.section(s.keys["timeouts"], timeoutsKeys())
	if !ok {
		return out
	}
	read := func(key string) time.Duration { return t.duration(key, 0, time.Second, ipvs.MaxTimeout, time.Second) }
	return ipvs.Timeouts{TCP: read("tcp"), TCPFin: read("tcpfin"), UDP: read("udp")}
}

// engine reads persistence_engine.
func (r *report) engine(s section, svc *Service) {
	name, ok := s.text("persistence_engine")
	if !ok {
		return
	}
	isUDP := func(l ipvs.ServiceKey) bool { return l.Mark != 0 || l.Protocol == ipvs.UDP }
	switch names := ipvs.EngineNames(); {
	case !slices.Contains(names, name):
		s.bad("persistence_engine", "want %s, got %q%s", oneOf(names), name, didYouMean(name, names))
	case s.keys["persistence"] == nil:
		s.bad("persistence_engine", "tells clients apart for persistence, which this service does not have")
	case !allOf(svc.Listen, isUDP):
		i := slices.IndexFunc(svc.Listen, func(l ipvs.ServiceKey) bool { return !isUDP(l) })
		s.bad("persistence_engine", "%s looks into datagrams, and %s has none", name, svc.Listen[i])
	case len(svc.Covers) > 0 && !allOf(svc.Covers, func(c Cover) bool { return c.Protocol == ipvs.UDP }):
		s.bad("persistence_engine", "%s looks into datagrams, and not all that the service listens on are", name)
	default:
		svc.Engine = name
	}
}

func allOf[T any](list []T, is func(T) bool) bool {
	return !slices.ContainsFunc(list, func(x T) bool { return !is(x) })
}

// ftpPort is the only one where the kernel's helper for FTP looks, unless its module
// is told others.
const ftpPort = 21

// helper reads helper.
func (r *report) helper(s section, svc *Service) {
	name, ok := s.text("helper")
	if !ok {
		return
	}
	isNAT := func(s Server) bool { return s.Forward == ipvs.NAT && !s.FullNAT }
	switch {
	case name != "ftp":
		s.bad("helper", "want \"ftp\", got %q", name)
	case len(svc.Covers) > 0:
		s.bad("helper", "the kernel's helper for ftp goes by port %d and address; leave mark out", ftpPort)
	case !allOf(svc.Listen, func(l ipvs.ServiceKey) bool { return l.Protocol == ipvs.TCP && l.Addr.Port() == ftpPort }):
		s.bad("helper", "the kernel's helper for ftp looks at port %d/tcp, and this service has others", ftpPort)
	case !allOf(svc.Servers, isNAT) || svc.Sorry != nil && !isNAT(*svc.Sorry):
		s.bad("helper", "the kernel's helper for ftp rewrites addresses, which is for servers with forward = \"nat\"; others need persistence and port 0 instead")
	default:
		svc.FTP = true
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
		Persistence: s.Persistence, PersistenceMask: s.PersistenceMask, Engine: s.Engine,
	}
}

// Destination is the server as the kernel has it under one listen.
func (s Server) Destination(listen ipvs.ServiceKey) ipvs.Destination {
	return ipvs.Destination{
		Addr: s.At(listen), Forward: s.Forward, Tunnel: s.Tunnel, Weight: s.Weight,
		UpperThreshold: s.UpperThreshold, LowerThreshold: s.LowerThreshold,
	}
}
