package realserver

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"lvsha/internal/machine"
	"lvsha/internal/netif"
	"lvsha/vrrp"
)

// Kernel is where the half is put in place; netif.Links is the real one.
type Kernel interface {
	List() ([]vrrp.Link, error)
	WayTo(a netip.Addr) (ifname string, source netip.Addr, local bool, err error)
	Add(iface string, a vrrp.Address) error
	Drop(iface string, p netip.Prefix) error
	Tunnels() ([]netif.Tunnel, error)
	MakeTunnel(t netif.Tunnel) error
	RemoveTunnel(name string) error
	GUEPorts() ([]netif.GUEPort, error)
	OpenGUE(p netif.GUEPort) error
	CloseGUE(p netif.GUEPort) error
	Sysctl(name string) (string, error)
	SetSysctl(name, value string) error
}

// Server is this machine as a real server.
type Server struct {
	Kernel Kernel
	// Path is the file that keeps what was changed.
	Path string
	// Director says that this machine is a director too.
	Director bool
	// Tell is told what was done, a sentence each.
	Tell func(what string)
}

const loopback = "lo"

// facts are what is there now.
func (s Server) facts() (f Facts, err error) {
	f.Director = s.Director
	if f.Links, err = s.Kernel.List(); err != nil {
		return f, err
	}
	if f.Tunnels, err = s.Kernel.Tunnels(); err != nil {
		return f, err
	}
	// An address that nobody has (RFC 5737) goes by the default route; without one there is
	// an error.
	if ifname, _, local, err := s.Kernel.WayTo(netip.AddrFrom4([4]byte{198, 51, 100, 1})); err == nil && !local {
		f.Default = ifname
	}
	f.Ports, err = s.Kernel.GUEPorts()
	return f, err
}

// Status says what is not as the parts ask for, a sentence each.
func (s Server) Status(parts []Part) ([]string, error) {
	f, err := s.facts()
	if err != nil {
		return nil, err
	}
	h, err := NewHalf(parts, f)
	if err != nil {
		return nil, err
	}
	return h.Missing(parts, f, s.Kernel.Sysctl), nil
}

// Up has everything as the parts ask for, and puts back what was changed for others
// before. After an error it may be called again.
func (s Server) Up(parts []Part) error {
	r, err := readRecord(s.Path)
	if err != nil {
		return err
	}
	f, err := s.facts()
	if err != nil {
		return err
	}
	h, err := NewHalf(parts, f)
	if err != nil {
		return err
	}
	if err := s.undo(&r, h); err != nil {
		return err
	}
	if f, err = s.facts(); err != nil {
		return err
	}
	// The parameters first, or the machine would answer for the addresses at once.
	if err := s.set(&r, explicit(h.Settings)); err != nil {
		return err
	}
	for _, p := range h.Ports {
		if slices.Contains(f.Ports, p) {
			continue
		}
		r.Ports = addOnce(r.Ports, p)
		if err := s.do(r, fmt.Sprintf("opened %s for GUE", p), func() error { return s.Kernel.OpenGUE(p) }); err != nil {
			return err
		}
	}
	for i, t := range h.Tunnels {
		if t.Name != "" {
			continue
		}
		t.Name = freeName(t.Kind, f.Links)
		f.Links = append(f.Links, vrrp.Link{Name: t.Name})
		r.Tunnels = addOnce(r.Tunnels, t.Name)
		if err := s.do(r, fmt.Sprintf("made tunnel %s (%s to %s)", t.Name, t.Kind, t.Local), func() error { return s.Kernel.MakeTunnel(t) }); err != nil {
			return err
		}
		h.Tunnels[i].Name = t.Name
		if slices.ContainsFunc(h.Places, func(p Place) bool { return p.Tunnel == i }) {
			h.Unwrapped = append(h.Unwrapped, unwrapped(t.Name))
		}
	}
	if err := s.set(&r, h.Unwrapped); err != nil {
		return err
	}
	for _, p := range h.Places {
		if h.there(p, parts, f, s.Kernel.Sysctl) {
			continue
		}
		a := Address{netip.PrefixFrom(p.Addr, p.Addr.BitLen()), h.on(p)}
		r.Addresses = addOnce(r.Addresses, a)
		what := fmt.Sprintf("added %s to %s", a.Prefix, a.Interface)
		if err := s.do(r, what, func() error { return s.Kernel.Add(a.Interface, vrrp.Address{Prefix: a.Prefix}) }); err != nil {
			return err
		}
	}
	return nil
}

// Down puts back everything that was changed.
func (s Server) Down() error {
	r, err := readRecord(s.Path)
	if err != nil {
		return err
	}
	return s.undo(&r, Half{})
}

// explicit are settings of ARP, each of which is set for itself: what is set for all
// may be taken back by others.
func explicit(settings []machine.Setting) []machine.Setting {
	settings = slices.Clone(settings)
	for i := range settings {
		if !strings.HasSuffix(settings[i].Name, "/rp_filter") {
			settings[i].Of = ""
		}
	}
	return settings
}

// set sets kernel parameters.
func (s Server) set(r *Record, settings []machine.Setting) error {
	changes, _ := machine.Reconcile(settings, machine.Should, r.Sysctls, s.Kernel.Sysctl, nil)
	for _, c := range changes {
		i := slices.IndexFunc(r.Sysctls, func(b machine.Changed) bool { return b.Name == c.Name })
		if i < 0 {
			r.Sysctls = append(r.Sysctls, c)
		} else {
			r.Sysctls[i] = c
		}
		what := fmt.Sprintf("set %s, which was %s", c, c.Found)
		if err := s.do(*r, what, func() error { return s.Kernel.SetSysctl(c.Name, c.Set) }); err != nil {
			return err
		}
	}
	return nil
}

// do records a change and makes it.
func (s Server) do(r Record, what string, change func() error) error {
	if err := r.write(s.Path); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	s.Tell(what)
	return nil
}

// undo puts back what was changed and a half does not ask for, last first. It goes on
// after an error; what could not be put back stays in the record.
func (s Server) undo(r *Record, h Half) error {
	var errs []error
	note := func(what string, err error) (failed bool) {
		if err != nil {
			errs = append(errs, err)
			return true
		}
		if what != "" {
			s.Tell(what)
		}
		return false
	}
	r.Addresses = slices.DeleteFunc(r.Addresses, func(a Address) bool {
		wanted := slices.ContainsFunc(h.Places, func(p Place) bool { return p.Addr == a.Prefix.Addr() && h.on(p) == a.Interface })
		return !wanted && !note(fmt.Sprintf("removed %s from %s", a.Prefix, a.Interface), s.Kernel.Drop(a.Interface, a.Prefix))
	})
	r.Tunnels = slices.DeleteFunc(r.Tunnels, func(name string) bool {
		wanted := slices.ContainsFunc(h.Tunnels, func(t netif.Tunnel) bool { return t.Name == name })
		return !wanted && !note("removed tunnel "+name, s.Kernel.RemoveTunnel(name))
	})
	r.Ports = slices.DeleteFunc(r.Ports, func(p netif.GUEPort) bool {
		return !slices.Contains(h.Ports, p) && !note(fmt.Sprintf("closed %s", p), s.Kernel.CloseGUE(p))
	})
	_, back := machine.Reconcile(slices.Concat(h.Settings, h.Unwrapped), machine.Should, r.Sysctls, s.Kernel.Sysctl, nil)
	for _, c := range back {
		if note(s.putBack(c)) {
			continue
		}
		r.Sysctls = slices.DeleteFunc(r.Sysctls, func(b machine.Changed) bool { return b.Name == c.Name })
	}
	return errors.Join(append(errs, r.write(s.Path))...)
}

// putBack sets a kernel parameter to what it was. One that somebody else has set since,
// and one whose interface is gone, is left.
func (s Server) putBack(c machine.Changed) (what string, err error) {
	have, err := s.Kernel.Sysctl(c.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case have == c.Found: // it never was set, or has been put back
		return "", nil
	case c.Stale(have):
		return fmt.Sprintf("left %s at %s, which somebody else has set", machine.Dotted(c.Name), have), nil
	}
	if err := s.Kernel.SetSysctl(c.Name, c.Found); err != nil {
		return "", err
	}
	return fmt.Sprintf("set %s to %s again", machine.Dotted(c.Name), c.Found), nil
}

func addOnce[T comparable](list []T, x T) []T {
	if slices.Contains(list, x) {
		return list
	}
	return append(list, x)
}
