package ipvs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ruleOption is an option of ipvsadm.
type ruleOption struct {
	short, long string
	// value says that it has one, and optional that it need not.
	value, optional bool
}

// ruleOptions are those of -A and -a.
func ruleOptions() []ruleOption {
	return []ruleOption{
		{"t", "tcp-service", true, false}, {"u", "udp-service", true, false}, {"", "sctp-service", true, false}, {"f", "fwmark-service", true, false},
		{"6", "ipv6", false, false}, {"s", "scheduler", true, false}, {"p", "persistent", true, true}, {"M", "netmask", true, false},
		{"", "pe", true, false}, {"o", "ops", false, false}, {"b", "sched-flags", true, false},
		{"r", "real-server", true, false}, {"g", "gatewaying", false, false}, {"m", "masquerading", false, false}, {"i", "ipip", false, false},
		{"w", "weight", true, false}, {"x", "u-threshold", true, false}, {"y", "l-threshold", true, false},
		{"", "tun-type", true, false}, {"", "tun-port", true, false}, {"", "tun-nocsum", false, false}, {"", "tun-csum", false, false}, {"", "tun-remcsum", false, false},
	}
}

// ofServices are the options of -A besides those that name the service, ofServers those
// of -a.
func ofServices() []string {
	return []string{"scheduler", "persistent", "netmask", "pe", "ops", "sched-flags"}
}

func ofServers() []string {
	return []string{"real-server", "gatewaying", "masquerading", "ipip", "weight", "u-threshold", "l-threshold", "tun-type", "tun-port", "tun-nocsum", "tun-csum", "tun-remcsum"}
}

// ruleValues are the options of a line by their long names.
type ruleValues map[string]string

// parseRuleOptions reads the options of a line.
func parseRuleOptions(words []string) (ruleValues, error) {
	v := make(ruleValues)
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		// As ipvsadm-save writes them, which ipvsadm itself does not read.
		switch word {
		case "ops":
			word = "--ops"
		case "pe":
			word = "--pe"
		}
		name, value, glued := strings.Cut(word, "=")
		i := slices.IndexFunc(ruleOptions(), func(o ruleOption) bool {
			return "--"+o.long == name || o.short != "" && "-"+o.short == word
		})
		if i < 0 {
			return nil, fmt.Errorf("there is no option %q of a service or server", word)
		}
		o := ruleOptions()[i]
		if _, twice := v[o.long]; twice {
			return nil, fmt.Errorf("option %s appears twice", word)
		}
		switch {
		case glued && !o.value:
			return nil, fmt.Errorf("option %s has no value", name)
		case glued || !o.value:
		case len(words) > 0 && !(o.optional && strings.HasPrefix(words[0], "-")):
			value, words = words[0], words[1:]
		case !o.optional:
			return nil, fmt.Errorf("option %s has no value", word)
		}
		v[o.long] = value
	}
	return v, nil
}

// only refuses options that are for something else.
func (v ruleValues) only(what string, refused []string) error {
	for _, name := range refused {
		if _, ok := v[name]; ok {
			return fmt.Errorf("option --%s is not one of a %s", name, what)
		}
	}
	return nil
}

// key is the service that a line is about.
func (v ruleValues) key() (ServiceKey, error) {
	var key ServiceKey
	found := 0
	for _, name := range []string{"tcp-service", "udp-service", "sctp-service"} {
		text, ok := v[name]
		if !ok {
			continue
		}
		found++
		at, err := ruleAddress(text, 0)
		if err != nil {
			return key, err
		}
		key = ServiceKey{Protocol: map[string]Protocol{"tcp-service": TCP, "udp-service": UDP, "sctp-service": SCTP}[name], Addr: at}
	}
	_, ipv6 := v["ipv6"]
	if text, ok := v["fwmark-service"]; ok {
		found++
		mark, err := strconv.ParseUint(text, 10, 32)
		if err != nil || mark == 0 {
			return key, fmt.Errorf("want a firewall mark from 1 to 4294967295, got %q", text)
		}
		key = MarkKey(uint32(mark), ipv6)
	} else if ipv6 {
		return key, errors.New("option -6 is for services by firewall mark (-f)")
	}
	if found != 1 {
		return key, errors.New("want one service: -t, -u or --sctp-service with ADDRESS:PORT, or -f MARK")
	}
	return key, nil
}

// ruleAddress reads ADDRESS[:PORT] with a default for the port.
func ruleAddress(text string, port uint16) (netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at, nil
	}
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil {
		return netip.AddrPortFrom(a, port), nil
	}
	return netip.AddrPort{}, fmt.Errorf("want ADDRESS:PORT such as 192.0.2.10:80 or [2001:db8::10]:80 (names are not looked up: save with ipvsadm-save -n), got %q", text)
}

// defaultPersistence is ipvsadm's for -p without a number.
const defaultPersistence = 300 * time.Second

// service is the service of a line with -A.
func (v ruleValues) service(key ServiceKey) (r Rule, err error) {
	if err := v.only("service", ofServers()); err != nil {
		return r, err
	}
	r.Key, r.Scheduler = key, "wlc"
	if s, ok := v["scheduler"]; ok {
		r.Scheduler = s
	}
	if text, ok := v["persistent"]; ok {
		r.Persistence = defaultPersistence
		if text != "" {
			n, err := ruleNumber("persistent", text, 1, int(MaxPersistence/time.Second))
			if err != nil {
				return r, err
			}
			r.Persistence = time.Duration(n) * time.Second
		}
	}
	if text, ok := v["netmask"]; ok {
		if r.PersistenceMask, err = parseRuleMask(text, key.Addr.Addr().Is6()); err != nil {
			return r, err
		}
	}
	_, r.OnePacket = v["ops"]
	r.Engine = v["pe"]
	if r.Engine != "" && r.Persistence == 0 {
		r.Persistence = defaultPersistence // as ipvsadm does
	}
	if text, ok := v["sched-flags"]; ok {
		for name := range strings.SplitSeq(text, ",") {
			flag, err := parseRuleFlag(r.Scheduler, name)
			if err != nil {
				return r, err
			}
			r.Flags |= flag
		}
	}
	return r, nil
}

// parseRuleFlag reads a flag by its name or as "flag-1" to "flag-3".
func parseRuleFlag(scheduler, name string) (SchedulerFlags, error) {
	if i := slices.Index([]string{"flag-1", "flag-2", "flag-3"}, name); i >= 0 {
		return 1 << i, nil
	}
	return ParseSchedulerFlag(scheduler, name)
}

// parseRuleMask reads 255.255.255.0, or a length.
func parseRuleMask(text string, ipv6 bool) (uint8, error) {
	if ipv6 {
		n, err := ruleNumber("netmask", text, 1, 128)
		return uint8(n), err
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Is4() {
		if ones, bits := net.IPMask(a.AsSlice()).Size(); bits == 32 && ones > 0 {
			return uint8(ones), nil
		}
	}
	return 0, fmt.Errorf("want a mask such as 255.255.255.0, got %q", text)
}

// server is the server of a line with -a.
func (v ruleValues) server(key ServiceKey) (d Destination, err error) {
	if err := v.only("server", ofServices()); err != nil {
		return d, err
	}
	text, ok := v["real-server"]
	if !ok {
		return d, errors.New("want a server: -r ADDRESS:PORT")
	}
	if d.Addr, err = ruleAddress(text, key.Addr.Port()); err != nil {
		return d, err
	}
	ways := 0
	d.Forward = DR
	for name, method := range map[string]Forward{"gatewaying": DR, "masquerading": NAT, "ipip": TUN} {
		if _, ok := v[name]; ok {
			d.Forward = method
			ways++
		}
	}
	if ways > 1 {
		return d, errors.New("want one of -g, -m and -i")
	}
	if key.Mark == 0 && d.Forward != NAT {
		// ipvsadm passes over the port, which these methods cannot change.
		d.Addr = netip.AddrPortFrom(d.Addr.Addr(), key.Addr.Port())
	}
	d.Weight = 1
	for name, n := range map[string]struct {
		to   *int
		high int
	}{"weight": {&d.Weight, mostWeight}, "u-threshold": {&d.UpperThreshold, MaxThreshold}, "l-threshold": {&d.LowerThreshold, MaxThreshold}} {
		if text, ok := v[name]; ok {
			if *n.to, err = ruleNumber(name, text, 0, n.high); err != nil {
				return d, err
			}
		}
	}
	return d, v.tunnel(&d)
}

// tunnel reads how packets are wrapped.
func (v ruleValues) tunnel(d *Destination) error {
	if text, ok := v["tun-type"]; ok {
		i := slices.IndexFunc([]TunnelType{IPIP, GUE, GRE}, func(t TunnelType) bool { return t.String() == text })
		if i < 0 {
			return fmt.Errorf("option --tun-type wants ipip, gue or gre, got %q", text)
		}
		d.Tunnel.Type = TunnelType(i)
	}
	if text, ok := v["tun-port"]; ok {
		n, err := ruleNumber("tun-port", text, 1, 65535)
		if err != nil {
			return err
		}
		d.Tunnel.Port = uint16(n)
	}
	for name, checksum := range map[string]Checksum{"tun-csum": PlainChecksum, "tun-remcsum": RemoteChecksum} {
		if _, ok := v[name]; ok {
			d.Tunnel.Checksum = checksum
		}
	}
	for _, name := range []string{"tun-type", "tun-port", "tun-nocsum", "tun-csum", "tun-remcsum"} {
		if _, ok := v[name]; ok && d.Forward != TUN {
			return fmt.Errorf("option --%s is for tunnels (-i)", name)
		}
	}
	return nil
}

func ruleNumber(name, text string, low, high int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("option --%s wants a number from %d to %d, got %q", name, low, high, text)
	}
	return n, nil
}
