package ipvs

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Rule is a service as ipvsadm writes it down.
type Rule struct{ Service }

// FormatRules writes services as `ipvsadm-save -n` does, one line for each and one for
// each of its servers, for `ipvsadm -R` or ParseRules to read. Unlike that program's
// its lines have thresholds, and "-o" and "--pe" as they are read again. What ipvsadm has
// no words for is a comment.
func FormatRules(rules []Rule) string {
	var b strings.Builder
	for _, r := range rules {
		name, ok := ruleName(r.Key)
		if !ok {
			fmt.Fprintf(&b, "# %s: ipvsadm has no option for protocol %s\n", r.Key, r.Key.Protocol)
			continue
		}
		fmt.Fprintf(&b, "-A %s -s %s", name, r.Scheduler)
		if s := r.normal(); s.Persistence > 0 {
			fmt.Fprintf(&b, " -p %d", s.Persistence/time.Second)
			if s.PersistenceMask > 0 {
				fmt.Fprintf(&b, " -M %s", ruleMask(s))
			}
		}
		if r.Engine != "" {
			fmt.Fprintf(&b, " --pe %s", r.Engine)
		}
		if r.OnePacket {
			b.WriteString(" -o")
		}
		if r.Flags != 0 {
			fmt.Fprintf(&b, " -b %s", strings.Join(r.Flags.Names(r.Scheduler), ","))
		}
		b.WriteByte('\n')
		for _, d := range r.Destinations {
			if d.Forward == 0 || d.Forward == Local || d.Extra != "" {
				fmt.Fprintf(&b, "# -a %s -r %s -w %d: ipvsadm has no option for its forwarding (%s)\n", name, d.Addr, d.Weight, strings.TrimSpace(d.way()+" "+d.Extra))
				continue
			}
			fmt.Fprintf(&b, "-a %s -r %s %s -w %d%s%s\n", name, d.Addr, ruleForward(d.Forward), d.Weight, ruleTunnel(d), ruleThresholds(d))
		}
	}
	return b.String()
}

// ruleName is the option that names a service.
func ruleName(k ServiceKey) (string, bool) {
	switch {
	case k.Mark != 0 && k.Addr.Addr().Is6():
		return fmt.Sprintf("-f %d -6", k.Mark), true
	case k.Mark != 0:
		return fmt.Sprintf("-f %d", k.Mark), true
	}
	option, ok := map[Protocol]string{TCP: "-t", UDP: "-u", SCTP: "--sctp-service"}[k.Protocol]
	return option + " " + k.Addr.String(), ok
}

// ruleMask is a mask of IPv4 with dots, and the length of one of IPv6.
func ruleMask(s Service) string {
	if s.Key.Addr.Addr().Is6() {
		return fmt.Sprint(s.PersistenceMask)
	}
	return net.IP(net.CIDRMask(int(s.PersistenceMask), 32)).String()
}

func ruleForward(f Forward) string { return map[Forward]string{DR: "-g", NAT: "-m", TUN: "-i"}[f] }

func ruleTunnel(d Destination) (out string) {
	if d.Forward != TUN {
		return ""
	}
	out = " --tun-type " + d.Tunnel.Type.String()
	if d.Tunnel.Port != 0 {
		out += fmt.Sprintf(" --tun-port %d", d.Tunnel.Port)
	}
	if d.Tunnel.Type != IPIP {
		out += map[Checksum]string{NoChecksum: " --tun-nocsum", PlainChecksum: " --tun-csum", RemoteChecksum: " --tun-remcsum"}[d.Tunnel.Checksum]
	}
	return out
}

func ruleThresholds(d Destination) (out string) {
	if d.UpperThreshold != 0 {
		out = fmt.Sprintf(" -x %d", d.UpperThreshold)
	}
	if d.LowerThreshold != 0 {
		out += fmt.Sprintf(" -y %d", d.LowerThreshold)
	}
	return out
}

// RuleProblem is a line that cannot be restored, and why.
type RuleProblem struct {
	Line    int
	Message string
}

// ParseRules reads lines of FormatRules and of `ipvsadm-save -n`: one for each service,
// each before those of its servers. Names are not looked up. Every problem is returned;
// with any the rules are not to be used.
func ParseRules(text string) ([]Rule, []RuleProblem) {
	p := ruleParser{lines: make(map[ServiceKey]int)}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			if err := p.line(number, words); err != nil {
				p.problems = append(p.problems, RuleProblem{number, err.Error()})
			}
		}
	}
	if len(p.problems) == 0 {
		p.validate()
	}
	return p.rules, p.problems
}

// ruleParser is a file that is being read.
type ruleParser struct {
	rules    []Rule
	problems []RuleProblem
	// lines is where a service is, and servers where its servers are.
	lines   map[ServiceKey]int
	servers []map[netip.AddrPort]int
}

// line takes in a line.
func (p *ruleParser) line(number int, words []string) error {
	command := words[0]
	switch command {
	case "-A", "--add-service", "-a", "--add-server":
	default:
		return fmt.Errorf("want a line that begins with -A (a service) or -a (a server of one), as `ipvsadm-save -n` writes them, got %q", command)
	}
	o, err := parseRuleOptions(words[1:])
	if err != nil {
		return err
	}
	key, err := o.key()
	if err != nil {
		return err
	}
	if command == "-A" || command == "--add-service" {
		if first, twice := p.lines[key]; twice {
			return fmt.Errorf("service %s is on line %d already", key, first)
		}
		r, err := o.service(key)
		if err != nil {
			return err
		}
		p.lines[key] = number
		p.rules = append(p.rules, r)
		p.servers = append(p.servers, make(map[netip.AddrPort]int))
		return nil
	}
	for i := range p.rules {
		if p.rules[i].Key != key {
			continue
		}
		d, err := o.server(key)
		if err != nil {
			return err
		}
		if first, twice := p.servers[i][d.Addr]; twice {
			return fmt.Errorf("server %s of %s is on line %d already", d.Addr, key, first)
		}
		p.servers[i][d.Addr] = number
		p.rules[i].Destinations = append(p.rules[i].Destinations, d)
		return nil
	}
	return fmt.Errorf("service %s has no line with -A before", key)
}

// noScheduler is what the kernel calls none: nothing new is balanced.
const noScheduler = "none"

// kernelTakes makes of a service one that Validate takes, where that refuses what is of no
// use though the kernel takes it: what was saved of it is to be restored.
func kernelTakes(s *Service) {
	if s.Scheduler == noScheduler {
		s.Scheduler = SchedulerNames()[0]
	}
	if s.Key.Protocol != UDP {
		s.OnePacket = false
	}
}

// validate looks for what cannot work.
func (p *ruleParser) validate() {
	for i, r := range p.rules {
		s := r.Service
		s.Destinations = nil
		if known := len(SchedulerFlagNames(s.Scheduler)); s.Flags>>known != 0 {
			s.Flags &= 1<<known - 1 // flags without a name mean nothing to a scheduler
		}
		kernelTakes(&s)
		if err := Validate(s); err != nil {
			p.problems = append(p.problems, RuleProblem{p.lines[r.Key], err.Error()})
			continue
		}
		for _, d := range r.Destinations {
			d.Weight = min(d.Weight, MaxWeight)
			s.Destinations = []Destination{d}
			if err := Validate(s); err != nil {
				p.problems = append(p.problems, RuleProblem{p.servers[i][d.Addr], err.Error()})
			}
		}
	}
}
