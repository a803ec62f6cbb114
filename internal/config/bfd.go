package config

import (
	"time"

	"lvsha/internal/bfd"
)

const (
	// defaultBFDInterval and defaultBFDMultiplier are keepalived's.
	defaultBFDInterval   = 10 * time.Millisecond
	defaultBFDMultiplier = 5
	// minBFDInterval is what a process keeps up with beside others.
	minBFDInterval = 5 * time.Millisecond
	maxBFDInterval = 10 * time.Second
)

// bfd reads [bfd]; nil when there is none.
func (r *report) bfd(n *node) *bfd.Params {
	if n == nil {
		return nil
	}
	s, ok := r.section(n, bfdKeys())
	if !ok {
		return nil
	}
	return &bfd.Params{
		Interval:   s.duration("interval", defaultBFDInterval, minBFDInterval, maxBFDInterval, time.Millisecond),
		Multiplier: uint8(s.number("multiplier", defaultBFDMultiplier, 1, 255)),
	}
}

// sessions holds that checks of BFD have a pace.
func (r *report) sessions(services []Service, params *bfd.Params, n *node) {
	if params != nil {
		return
	}
	for _, s := range services {
		for _, server := range s.Servers {
			for _, c := range server.Checks {
				if c.Kind() == "bfd" {
					r.at(n, "service %s has a check of type \"bfd\", which needs a [bfd] section for its pace", s.Name)
					return
				}
			}
		}
	}
}

func bfdKeys() []string { return []string{"interval", "multiplier"} }
