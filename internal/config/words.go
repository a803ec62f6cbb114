package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"

	"lvsha/vrrp"
)

// words are what stands behind an address, a route or a rule, as iproute2 has
// it: pairs of a word and its value in any order, and words of their own, whose
// value is the word.
type words map[string]string

// readWords reads pairs and single words.
func readWords(fields, pairs, single []string) (words, error) {
	known := slices.Concat(pairs, single)
	out := make(words)
	for i := 0; i < len(fields); i++ {
		word := fields[i]
		if _, twice := out[word]; twice {
			return nil, fmt.Errorf("%q stands twice", word)
		}
		switch {
		case slices.Contains(single, word):
			out[word] = word
		case !slices.Contains(pairs, word):
			return nil, fmt.Errorf("unknown word %q; want %s%s", word, oneOf(known), didYouMean(word, known))
		case i+1 == len(fields):
			return nil, fmt.Errorf("%q has nothing behind it", word)
		default:
			i++
			out[word] = fields[i]
		}
	}
	return out, nil
}

// iface is the name of an interface; empty when absent.
func (w words) iface(word string) (string, error) {
	v, ok := w[word]
	if ok && !validInterface(v) {
		return "", fmt.Errorf("want the name of an interface such as \"eth0\" behind %s, got %q", word, v)
	}
	return v, nil
}

// scope is the scope by its name or number (rtnetlink(7)).
func (w words) scope() (uint8, error) {
	v, ok := w["scope"]
	if !ok {
		return vrrp.ScopeGlobal, nil
	}
	switch v {
	case "global":
		return vrrp.ScopeGlobal, nil
	case "link":
		return vrrp.ScopeLink, nil
	case "host":
		return vrrp.ScopeHost, nil
	}
	if n, err := strconv.ParseUint(v, 10, 8); err == nil && n < math.MaxUint8 {
		return uint8(n), nil
	}
	return 0, fmt.Errorf("want \"global\", \"link\", \"host\" or a number from 0 to 254 behind scope, got %q", v)
}

// number is an integer within bounds; 0 when absent.
func (w words) number(word string, low, high uint32) (uint32, error) {
	v, ok := w[word]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil || uint32(n) < low || uint32(n) > high {
		return 0, fmt.Errorf("want an integer from %d to %d behind %s, got %q", low, high, word, v)
	}
	return uint32(n), nil
}

// table is a routing table by its number, or one of the two names that the
// kernel fixes; 0 when absent.
func (w words) table(word string) (uint32, error) {
	switch w[word] {
	case "main":
		return tableMain, nil
	case "default":
		return tableDefault, nil
	}
	n, err := w.number(word, 1, math.MaxUint32)
	if err != nil {
		return 0, fmt.Errorf("want \"main\", \"default\" or the number of a table behind %s, got %q", word, w[word])
	}
	if n == tableLocal {
		return 0, fmt.Errorf("table %d is the kernel's own", tableLocal)
	}
	return n, nil
}

// The tables that the kernel has names for (rtnetlink(7)).
const (
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255
)

// addr is an address; not valid when absent.
func (w words) addr(word string) (netip.Addr, error) {
	v, ok := w[word]
	if !ok {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(v)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, fmt.Errorf("want an address behind %s, got %q", word, v)
	}
	if why := notOneMachine(a); why != "" {
		return netip.Addr{}, fmt.Errorf("%s %s", a, why)
	}
	return a, nil
}

// parseNetwork reads "10.2.0.0/16", or an address that is a network of one.
func parseNetwork(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("want a network such as \"10.2.0.0/16\" or an address, got %q", text)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%s is an IPv4 address in IPv6's clothes; want the IPv4 one", p.Addr())
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s is an address of the network %s; want that", p.Addr(), p.Masked())
	}
	return p, nil
}
