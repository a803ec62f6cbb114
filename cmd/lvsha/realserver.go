package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"lvsha/internal/config"
	"lvsha/internal/netif"
	"lvsha/internal/realserver"
	"lvsha/ipvs"
)

// defaultServerRecord is where what was changed is kept.
const defaultServerRecord = "/run/lvsha/realserver.json"

// addressList is a flag that may be given several times, and takes lists.
type addressList []netip.Addr

func (l *addressList) String() string { return fmt.Sprint(*l) }

// Set is part of flag.Value.
func (l *addressList) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(word))
		if err != nil || a.Zone() != "" || a.Is4In6() {
			return fmt.Errorf("want an address such as 192.0.2.10, got %q", word)
		}
		*l = append(*l, a)
	}
	return nil
}

// realServer does, undoes or looks at a real server's half.
func realServer(_ context.Context, c *call) error {
	file := c.flags.String("c", config.DefaultFile, "the configuration `file`, the same as on the directors")
	var as, vips addressList
	c.flags.Var(&as, "as", "the `address` by which the file knows this server (default: those of its interfaces)")
	c.flags.Var(&vips, "vip", "a virtual `address`; may be repeated. Beside it the file is not read unless -c names it")
	forward := c.flags.String("forward", "dr", "with --vip: by which `method` packets for it come, dr or tun")
	tunnel := c.flags.String("tunnel", "ipip", "with --forward tun: the `type` of the tunnel, ipip, gre or gue:PORT")
	record := c.flags.String("record", defaultServerRecord, "the `file` that keeps what was changed")
	asJSON := c.flags.Bool("json", false, "status as JSON")
	verb, err := c.word()
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"up", "down", "status"}, verb) {
		fmt.Fprintf(c.stderr, "lvsha realserver: want up, down or status, got %q\n", verb)
		c.flags.Usage()
		return errUsage
	}
	links := netif.New(nil)
	defer links.Close()
	changes := 0
	server := realserver.Server{Kernel: links, Path: *record, Tell: func(what string) {
		changes++
		fmt.Fprintln(c.stdout, what)
	}}
	if verb == "down" {
		err := server.Down()
		if err == nil && changes == 0 {
			fmt.Fprintln(c.stdout, "nothing was changed by lvsha")
		}
		return err
	}
	way, err := parseWay(*forward, *tunnel)
	if err != nil {
		fmt.Fprintf(c.stderr, "lvsha realserver: %v\n", err)
		return errUsage
	}
	ask := serverAsk{as: as, vips: vips, way: way, file: *file, named: c.given("c")}
	parts, notes, err := ask.parts(links, &server)
	if err != nil {
		return err
	}
	if verb == "up" {
		for _, n := range notes {
			fmt.Fprintln(c.stdout, n)
		}
		err := server.Up(parts)
		if err == nil && changes == 0 {
			fmt.Fprintln(c.stdout, "everything is there already")
		}
		return err
	}
	missing, err := server.Status(parts)
	if err != nil {
		return err
	}
	if *asJSON {
		err = printServerJSON(c, parts, missing, notes)
	} else {
		printServerStatus(c, parts, missing, notes)
	}
	if err == nil && len(missing) > 0 {
		return errSilent
	}
	return err
}

// given reports whether a flag was given.
func (c *call) given(name string) (given bool) {
	c.flags.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}

// parseWay reads --forward and --tunnel.
func parseWay(forward, tunnel string) (p realserver.Part, err error) {
	if p.Forward, err = ipvs.ParseForward(forward); err != nil || p.Forward != ipvs.DR && p.Forward != ipvs.TUN {
		return p, fmt.Errorf("--forward is dr or tun, not %q", forward)
	}
	kind, port, _ := strings.Cut(tunnel, ":")
	switch kind {
	case "ipip":
	case "gre":
		p.Tunnel.Type = ipvs.GRE
	case "gue":
		p.Tunnel.Type = ipvs.GUE
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return p, fmt.Errorf("--tunnel gue:PORT has a port from 1 to 65535, not %q", port)
		}
		p.Tunnel.Port = uint16(n)
		port = ""
	default:
		return p, fmt.Errorf("--tunnel is ipip, gre or gue:PORT, not %q", tunnel)
	}
	if port != "" {
		return p, fmt.Errorf("--tunnel %s has no port", kind)
	}
	return p, nil
}

// serverAsk is what the command line says of the half.
type serverAsk struct {
	as, vips addressList
	way      realserver.Part
	file     string
	// named says that the file was named.
	named bool
}

// parts are what is asked of this server, by the file and by --vip.
func (a serverAsk) parts(links *netif.Links, server *realserver.Server) (parts []realserver.Part, notes []string, err error) {
	own := []netip.Addr(a.as)
	if len(own) == 0 {
		if own, err = ownAddresses(links, a.vips); err != nil {
			return nil, nil, err
		}
	}
	if len(a.vips) == 0 || a.named {
		cfg, err := config.LoadForServer(a.file)
		if err != nil {
			return nil, nil, err
		}
		parts, notes = realserver.Parts(cfg, own)
		for _, d := range cfg.Directors {
			server.Director = server.Director || slices.ContainsFunc(d.Addresses, func(d netip.Addr) bool { return slices.Contains(own, d) })
		}
		if len(parts)+len(notes) == 0 && len(a.vips) == 0 {
			if len(a.as) > 0 {
				return nil, nil, fmt.Errorf("no service of %s has the server %s", a.file, joinAddresses(own))
			}
			return nil, nil, fmt.Errorf("no service of %s has a server with an address of this machine (%s); say which one it is with --as ADDRESS, or what it serves with --vip ADDRESS",
				a.file, joinAddresses(own))
		}
	}
	for _, vip := range a.vips {
		p := a.way
		p.VIP = vip
		for _, address := range own {
			if address.Is4() == vip.Is4() || p.Forward == ipvs.TUN && !p.Server.IsValid() {
				p.Server = address
				break
			}
		}
		if !p.Server.IsValid() {
			return nil, nil, fmt.Errorf("this machine has no address of the family of %s; say by which one the directors know it with --as ADDRESS", vip)
		}
		if p.Forward == ipvs.TUN && len(a.as) == 0 {
			return nil, nil, fmt.Errorf("say by which address the tunnel ends here with --as ADDRESS (this machine has %s)", joinAddresses(own))
		}
		parts = append(parts, p)
	}
	return parts, notes, nil
}

// ownAddresses are those of this machine's interfaces by which others know it.
func ownAddresses(links *netif.Links, not []netip.Addr) (out []netip.Addr, err error) {
	list, err := links.List()
	if err != nil {
		return nil, err
	}
	for _, l := range list {
		for _, p := range l.Addresses {
			if l.Name != "lo" && !p.Addr().IsLinkLocalUnicast() && !slices.Contains(not, p.Addr()) {
				out = append(out, p.Addr())
			}
		}
	}
	return out, nil
}

func joinAddresses(list []netip.Addr) string {
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

// printServerStatus says what is asked and what of it is not so.
func printServerStatus(c *call, parts []realserver.Part, missing, notes []string) {
	for _, p := range parts {
		way := p.Forward.String()
		if p.Forward == ipvs.TUN {
			way += " " + p.Tunnel.String()
		}
		fmt.Fprintf(c.stdout, "%s by %s to %s\n", p.VIP, way, p.Server)
	}
	for _, n := range notes {
		fmt.Fprintln(c.stdout, n)
	}
	for _, m := range missing {
		fmt.Fprintf(c.stdout, "! %s\n", m)
	}
	if len(missing) > 0 {
		fmt.Fprintln(c.stdout, "lvsha realserver up puts it right")
	} else {
		fmt.Fprintln(c.stdout, "everything is there")
	}
}

// printServerJSON is the same for programs.
func printServerJSON(c *call, parts []realserver.Part, missing, notes []string) error {
	type part struct {
		VIP     string `json:"vip"`
		Server  string `json:"server"`
		Forward string `json:"forward"`
		Tunnel  string `json:"tunnel,omitempty"`
	}
	out := struct {
		OK      bool     `json:"ok"`
		Parts   []part   `json:"parts"`
		Missing []string `json:"missing"`
		Notes   []string `json:"notes"`
	}{len(missing) == 0, []part{}, append([]string{}, missing...), append([]string{}, notes...)}
	for _, p := range parts {
		row := part{VIP: p.VIP.String(), Server: p.Server.String(), Forward: p.Forward.String()}
		if p.Forward == ipvs.TUN {
			row.Tunnel = p.Tunnel.String()
		}
		out.Parts = append(out.Parts, row)
	}
	return printJSON(c.stdout, out)
}

// printJSON writes a value for programs.
func printJSON(w io.Writer, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}
