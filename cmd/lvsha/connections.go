package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lvsha/internal/control"
	"lvsha/ipvs"
	connsync "lvsha/sync"
)

// connections lists the kernel's connection table in one pass: reading it costs the
// kernel the square of its size.
func connections(ctx context.Context, c *call) error {
	service := c.flags.String("service", "", "only those of a `service`: its name, or 192.0.2.10:80/tcp, 192.0.2.10 or \"mark 5\"")
	client := c.flags.String("client", "", "only those of a client's `address` or network")
	server := c.flags.String("server", "", "only those of a real server, ADDRESS or `ADDRESS:PORT`")
	state := c.flags.String("state", "", "only those in a `state`, such as ESTABLISHED")
	onlyCount := c.flags.Bool("count", false, "count them, and list none")
	asJSON := c.flags.Bool("json", false, "as JSON")
	socket := c.socketFlag()
	if err := c.parse(); err != nil {
		return err
	}
	f := connFilter{state: strings.ToUpper(*state)}
	var err error
	if f.client, err = parseNetwork(*client); err == nil {
		f.server, err = parseServer(*server)
	}
	if err != nil {
		fmt.Fprintf(c.stderr, "lvsha connections: %v\n", err)
		return errUsage
	}
	if *service != "" {
		if f.services, err = serviceKeys(ctx, *service, *socket); err != nil {
			return err
		}
		if slices.ContainsFunc(f.services, func(k ipvs.ServiceKey) bool { return k.Mark != 0 }) {
			if f.table, err = kernelServices(); err != nil {
				return err
			}
		}
	}
	out := bufio.NewWriterSize(c.stdout, 1<<16)
	list := connList{out: out, json: *asJSON, quiet: *onlyCount}
	if err := list.print(f.only(connsync.Host{}.Conns(true))); err != nil {
		return err
	}
	return out.Flush()
}

// parseNetwork reads an address or a network; empty is any.
func parseNetwork(text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("--client wants an address or a network such as 192.0.2.0/24, got %q", text)
	}
	return p.Masked(), nil
}

// parseServer reads an address with or without a port, which is zero then; empty is any.
func parseServer(text string) (netip.AddrPort, error) {
	if text == "" {
		return netip.AddrPort{}, nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return at, fmt.Errorf("--server wants ADDRESS or ADDRESS:PORT, got %q", text)
	}
	return at, nil
}

// serviceKeys are what the kernel knows a service by. A name is the daemon's.
func serviceKeys(ctx context.Context, text, socket string) ([]ipvs.ServiceKey, error) {
	if key, err := ipvs.ParseServiceKey(text); err == nil {
		return []ipvs.ServiceKey{key}, nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		var keys []ipvs.ServiceKey
		for _, p := range []ipvs.Protocol{ipvs.TCP, ipvs.UDP, ipvs.SCTP} {
			keys = append(keys, ipvs.ServiceKey{Protocol: p, Addr: netip.AddrPortFrom(a, 0)})
		}
		return keys, nil
	}
	asked, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	status, _, err := control.NewClient(socket).Status(asked)
	if err != nil {
		return nil, fmt.Errorf("looking up service %q: %w; without a daemon name it as 192.0.2.10:80/tcp", text, err)
	}
	var known []string
	for _, s := range status.Services {
		if s.Name != text {
			known = append(known, s.Name)
			continue
		}
		var keys []ipvs.ServiceKey
		for _, l := range s.Listen {
			key, err := ipvs.ParseServiceKey(l)
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
		return keys, nil
	}
	return nil, fmt.Errorf("there is no service %q; there is %s", text, orNone(strings.Join(known, ", ")))
}

// kernelServices is the kernel's table.
func kernelServices() ([]ipvs.Service, error) {
	kernel, err := ipvs.Open()
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	return kernel.List()
}

// connFilter chooses connections. The zero value takes all.
type connFilter struct {
	services []ipvs.ServiceKey
	// table tells which connections are of a service by firewall mark, which they do not
	// say.
	table  []ipvs.Service
	client netip.Prefix
	server netip.AddrPort
	state  string
}

// only are the connections that the filter takes.
func (f connFilter) only(all iter.Seq2[connsync.Conn, error]) iter.Seq2[connsync.Conn, error] {
	return func(yield func(connsync.Conn, error) bool) {
		for c, err := range all {
			if (err != nil || f.takes(c)) && !yield(c, err) {
				return
			}
		}
	}
}

func (f connFilter) takes(c connsync.Conn) bool {
	switch {
	case f.client.IsValid() && !f.client.Contains(c.Key.Client.Addr()):
		return false
	case f.server.IsValid() && (f.server.Addr() != c.Server.Addr() || f.server.Port() != 0 && f.server.Port() != c.Server.Port()):
		return false
	case f.state != "" && f.state != c.Key.StateName(c.State):
		return false
	}
	return len(f.services) == 0 || slices.ContainsFunc(f.services, func(k ipvs.ServiceKey) bool { return f.of(c, k) })
}

// of reports whether a connection is one of a service.
func (f connFilter) of(c connsync.Conn, k ipvs.ServiceKey) bool {
	if k.Mark == 0 {
		return at(c, k)
	}
	if c.Key.Template && c.Key.Protocol == 0 {
		return markOf(c) == k.Mark && c.Key.Client.Addr().Is6() == k.Addr.Addr().Is6()
	}
	// A connection does not say the mark that it came by: it has a server of that service,
	// and no service has its address and port.
	if c.Key.Virtual.Addr().Is6() != k.Addr.Addr().Is6() || slices.ContainsFunc(f.table, func(s ipvs.Service) bool { return s.Key.Mark == 0 && at(c, s.Key) }) {
		return false
	}
	i := slices.IndexFunc(f.table, func(s ipvs.Service) bool { return s.Key == k })
	return i >= 0 && slices.ContainsFunc(f.table[i].Destinations, func(d ipvs.Destination) bool {
		return d.Addr.Addr() == c.Server.Addr() && (d.Addr.Port() == 0 || d.Addr.Port() == c.Server.Port())
	})
}

// at reports whether a connection is to the address and port of a service; port zero is
// every port.
func at(c connsync.Conn, k ipvs.ServiceKey) bool {
	return uint8(k.Protocol) == c.Key.Protocol && k.Addr.Addr() == c.Key.Virtual.Addr() && (k.Addr.Port() == 0 || k.Addr.Port() == c.Key.Virtual.Port())
}

// markOf is the firewall mark of a template of one.
func markOf(c connsync.Conn) uint32 {
	b := c.Key.Virtual.Addr().AsSlice()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// connList prints connections as they come, and what they were at the end: it keeps the
// counts alone.
type connList struct {
	out         io.Writer
	json, quiet bool
}

// connCounts are what is kept.
type connCounts struct {
	Total     int `json:"total"`
	Templates int `json:"templates"`
	// Synced came from another director.
	Synced int `json:"synced"`
	// States are by protocol and state, Servers by server, templates apart.
	States  map[string]int `json:"states"`
	Servers map[string]int `json:"servers"`
}

// shownConn is a connection in JSON.
type shownConn struct {
	Protocol string `json:"protocol"`
	Template bool   `json:"template,omitempty"`
	Client   string `json:"client"`
	Virtual  string `json:"virtual"`
	Server   string `json:"server"`
	State    string `json:"state"`
	// Expires is in seconds, unless a packet comes.
	Expires uint32 `json:"expires"`
	Synced  bool   `json:"synced,omitempty"`
}

func showConn(c connsync.Conn) shownConn {
	protocol, _, _ := strings.Cut(strings.TrimPrefix(c.Key.String(), "template "), " ")
	out := shownConn{
		Protocol: protocol, Template: c.Key.Template, Client: c.Key.Client.String(), Virtual: c.Key.Virtual.String(), Server: c.Server.String(),
		State: c.Key.StateName(c.State), Expires: c.Expires, Synced: c.Synced,
	}
	if c.Key.Template {
		out.Client = c.Key.Client.Addr().String()
	}
	if c.Key.Template && c.Key.Protocol == 0 {
		out.Virtual = fmt.Sprintf("mark %d", markOf(c))
	}
	return out
}

func (l connList) print(conns iter.Seq2[connsync.Conn, error]) error {
	counts := connCounts{States: make(map[string]int), Servers: make(map[string]int)}
	switch {
	case l.json && l.quiet:
	case l.json:
		fmt.Fprint(l.out, "{\"connections\":[")
	case !l.quiet:
		fmt.Fprintf(l.out, "%-8s %-40s %-24s %-24s %-12s %7s  %s\n", "PROTOCOL", "CLIENT", "SERVICE", "SERVER", "STATE", "EXPIRES", "FROM")
	}
	for c, err := range conns {
		if errors.Is(err, connsync.ErrNoIPVS) {
			return err
		}
		if err != nil {
			return fmt.Errorf("listing connections: %w", err)
		}
		s := showConn(c)
		counts.add(s)
		if l.quiet {
			continue
		}
		if err := l.row(s, counts.Total == 1); err != nil {
			return err
		}
	}
	switch {
	case l.json && l.quiet:
		return json.NewEncoder(l.out).Encode(counts)
	case l.json:
		fmt.Fprint(l.out, "\n],\"counts\":")
		if err := json.NewEncoder(l.out).Encode(counts); err != nil {
			return err
		}
		_, err := fmt.Fprintln(l.out, "}")
		return err
	}
	return counts.print(l.out)
}

func (l connList) row(s shownConn, first bool) error {
	if l.json {
		text, err := json.Marshal(s)
		if err != nil {
			return fmt.Errorf("encoding: %w", err)
		}
		between := ",\n"
		if first {
			between = "\n"
		}
		_, err = fmt.Fprintf(l.out, "%s%s", between, text)
		return err
	}
	what, from := s.Protocol, "clients"
	if s.Template {
		what = "template"
	}
	if s.Synced {
		from = "sync"
	}
	_, err := fmt.Fprintf(l.out, "%-8s %-40s %-24s %-24s %-12s %6ds  %s\n", what, s.Client, s.Virtual, s.Server, s.State, s.Expires, from)
	return err
}

func (n *connCounts) add(s shownConn) {
	n.Total++
	if s.Synced {
		n.Synced++
	}
	if s.Template {
		n.Templates++
		return
	}
	n.States[s.Protocol+" "+s.State]++
	n.Servers[s.Server]++
}

func (n *connCounts) print(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s, %d of all by synchronisation\n", count(n.Total-n.Templates, "connection"), count(n.Templates, "template"), n.Synced)
	for _, state := range slices.Sorted(maps.Keys(n.States)) {
		fmt.Fprintf(w, "  %-24s %d\n", state, n.States[state])
	}
	for _, server := range slices.Sorted(maps.Keys(n.Servers)) {
		if _, err := fmt.Fprintf(w, "  to %-21s %d\n", server, n.Servers[server]); err != nil {
			return err
		}
	}
	return nil
}
