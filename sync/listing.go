package connsync

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"slices"
	"strconv"
)

// Listing parses a listing of connections as the kernel writes it to
// /proc/net/ip_vs_conn_sync, or with synced false to /proc/net/ip_vs_conn
// (ip_vs_conn_seq_show and its sibling in ip_vs_conn.c). The first has where an
// entry comes from, the second the data of persistence engines. It ends with the
// first error, which is yielded. Each entry is yielded as it is read: the kernel
// makes the text page by page, and what vanishes meanwhile may move a living entry
// out of sight or show it twice, so that one listing alone proves nothing to be
// gone.
func Listing(r io.Reader, synced bool) iter.Seq2[Conn, error] {
	return func(yield func(Conn, error) bool) {
		s := bufio.NewScanner(r)
		s.Buffer(make([]byte, 0, 4096), 4096)
		line := 0
		for s.Scan() {
			if line++; line == 1 {
				continue // names of the columns
			}
			c, err := parseConn(s.Bytes(), synced)
			if err != nil {
				yield(Conn{}, fmt.Errorf("line %d of the listing of connections: %w", line, err))
				return
			}
			if !yield(c, nil) {
				return
			}
		}
		if err := s.Err(); err != nil {
			yield(Conn{}, fmt.Errorf("reading the listing of connections: %w", err))
		}
	}
}

// parseConn parses one line:
//
//	Pro FromIP FPrt ToIP TPrt DestIP DPrt State Expires PEName PEData
//	Pro FromIP FPrt ToIP TPrt DestIP DPrt State Origin Expires
func parseConn(line []byte, synced bool) (Conn, error) {
	fields := make([][]byte, 0, 12)
	for f := range bytes.FieldsSeq(line) {
		if len(fields) == 10 && !synced {
			break // the data of an engine may have spaces
		}
		fields = append(fields, f)
	}
	want := 9
	if synced {
		want = 10
	}
	if len(fields) < want {
		return Conn{}, fmt.Errorf("%q has %d columns, want %d", line, len(fields), want)
	}
	var c Conn
	var err error
	if c.Key.Protocol, err = parseProtocol(fields[0]); err != nil {
		return c, err
	}
	for i, to := range []*netip.AddrPort{&c.Key.Client, &c.Key.Virtual, &c.Server} {
		if *to, err = parseEnd(fields[1+2*i], fields[2+2*i]); err != nil {
			return c, err
		}
	}
	state := fields[7]
	c.Key.Template = c.Key.Client.Port() == 0 && (string(state) == "NONE" || string(state) == "ASSURED")
	n := slices.IndexFunc(states(c.Key.Protocol, c.Key.Template), func(name string) bool { return name == string(state) })
	switch {
	case n >= 0:
		c.State = uint16(n)
	case c.Key.Protocol == protocolTCP || c.Key.Protocol == protocolSCTP:
		return c, fmt.Errorf("state %q of %s is unknown", state, protocolName(c.Key.Protocol))
	}
	expires := fields[8]
	if synced {
		expires = fields[9]
		c.Synced = string(fields[8]) == "SYNC"
	} else if len(fields) == 10 {
		c.Engine = string(fields[9])
		_, data, _ := bytes.Cut(line, append([]byte(" "), fields[9]...))
		c.EngineData = string(bytes.TrimSpace(data))
		if c.Key.Template {
			c.Key.Engine = engineKey(c.Engine, c.EngineData)
		}
	}
	// The kernel prints what is less than none as a huge number.
	left, err := strconv.ParseUint(string(expires), 10, 64)
	if err != nil {
		return c, fmt.Errorf("time %q is not a number of seconds", expires)
	}
	if left <= 1<<31 {
		c.Expires = uint32(left)
	}
	return c, nil
}

// parseProtocol parses ip_vs_proto_name.
func parseProtocol(b []byte) (uint8, error) {
	switch string(b) {
	case "TCP":
		return protocolTCP, nil
	case "UDP":
		return protocolUDP, nil
	case "SCTP":
		return protocolSCTP, nil
	case "IP":
		return protocolAny, nil
	case "ICMP":
		return 1, nil
	case "ICMPv6":
		return 58, nil
	}
	if digits, found := bytes.CutPrefix(b, []byte("IP_")); found {
		if n, err := strconv.ParseUint(string(digits), 10, 8); err == nil {
			return uint8(n), nil
		}
	}
	return 0, fmt.Errorf("protocol %q is unknown", b)
}

// parseEnd parses an address, in 8 digits or 8 groups of 4, and a port, all
// hexadecimal.
func parseEnd(address, port []byte) (netip.AddrPort, error) {
	p, err := strconv.ParseUint(string(port), 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q is not one", port)
	}
	if len(address) == 8 {
		var b [4]byte
		if _, err := hex.Decode(b[:], address); err == nil {
			return netip.AddrPortFrom(netip.AddrFrom4(b), uint16(p)), nil
		}
	}
	// Eight full groups; netip would take an IPv4-mapped one as such, and so do we.
	a, err := netip.ParseAddr(string(address))
	if err != nil || !a.Is6() || a.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("address %q is not one", address)
	}
	return netip.AddrPortFrom(a, uint16(p)), nil
}
