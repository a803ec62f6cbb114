package director

import (
	"lvsha/internal/config"
	"lvsha/internal/packetfilter"
)

// filterRules are what the services of a file need of the packet filter.
func filterRules(cfg *config.Config) (out packetfilter.Rules) {
	for _, s := range cfg.Services {
		out.Marks = append(out.Marks, marks(s)...)
	}
	return out
}

// marks lead what a service covers to it.
func marks(s config.Service) (out []packetfilter.Mark) {
	for _, c := range s.Covers {
		for _, listen := range s.Listen {
			if listen.Addr.Addr().Is6() == c.From.Is6() {
				out = append(out, packetfilter.Mark{
					From: c.From, To: c.To, Protocol: uint8(c.Protocol), First: c.First, Last: c.Last, Mark: listen.Mark,
				})
			}
		}
	}
	return out
}

// wantFilter hands the rules to the packet filter's reconciler, unless everything is
// being given up.
func (d *Director) wantFilter() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.flushing {
		d.filter.Set(filterRules(d.cfg))
	}
}
