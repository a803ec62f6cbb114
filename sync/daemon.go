package connsync

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Role is the part a kernel sync daemon plays.
type Role uint8

// The roles, with the kernel's IPVS_DAEMON_ATTR_STATE as value.
const (
	_ Role = iota
	// Master sends this director's connections (IP_VS_STATE_MASTER, 1).
	Master
	// Backup receives the other directors' (IP_VS_STATE_BACKUP, 2).
	Backup
)

// String returns "master" or "backup".
func (r Role) String() string {
	switch r {
	case Master:
		return "master"
	case Backup:
		return "backup"
	default:
		return fmt.Sprintf("role %d", uint8(r))
	}
}

// MarshalText returns String.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText parses "master" or "backup".
func (r *Role) UnmarshalText(b []byte) error {
	switch string(b) {
	case "master":
		*r = Master
	case "backup":
		*r = Backup
	default:
		return fmt.Errorf("sync daemon role %q is neither master nor backup", b)
	}
	return nil
}

// Daemon is one of the two kernel sync daemons of a network namespace.
type Daemon struct {
	Role Role
	// Interface carries the multicast; at most 15 bytes.
	Interface string
	// ID is the sync group, 1 to 255. All directors of a group use one.
	ID uint8
	// Group is the multicast group and port; the zero value is DefaultGroup.
	Group netip.AddrPort
	// TTL is how many hops a master's messages go, 1 to 255; zero is the kernel's 1.
	TTL uint8
	// MaxLen is the longest message in octets without UDP and IP headers: that a
	// master sends, and that a backup takes (it drops longer ones without a word).
	// Zero leaves it to the kernel, which goes by the interface.
	MaxLen uint16
	// Index is the number of the interface a daemon was started on, as far as
	// known; zero is unknown. The kernel does not tell. A daemon on an
	// interface that was removed and made anew hears and says nothing, though
	// its name is right.
	Index int
}

// DefaultGroup returns the kernel's multicast group and port for sync messages
// (IP_VS_SYNC_GROUP and IP_VS_SYNC_PORT in net/netfilter/ipvs/ip_vs_sync.c).
func DefaultGroup() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{224, 0, 0, 81}), 8848)
}

// String returns "master on eth0 id 1", with the group if it is not the default.
func (d Daemon) String() string {
	s := fmt.Sprintf("%s on %s id %d", d.Role, d.Interface, d.ID)
	if d = d.normal(); d.Group != DefaultGroup() {
		s += " group " + d.Group.String()
	}
	return s
}

// normal returns the daemon with the default group written out, and no longer messages
// than IP has room for.
func (d Daemon) normal() Daemon {
	if d.Group == (netip.AddrPort{}) {
		d.Group = DefaultGroup()
	}
	if d.TTL == 0 {
		d.TTL = 1
	}
	// As the kernel has it, without a word (start_sync_thread).
	headers := 20 + 8
	if d.Group.Addr().Is6() {
		headers = 40 + 8
	}
	d.MaxLen = min(d.MaxLen, uint16(65535-headers))
	return d
}

// same reports whether two normal daemons need no change to be each other.
func (d Daemon) same(o Daemon) bool {
	if d.Index == 0 || o.Index == 0 {
		d.Index, o.Index = 0, 0
	}
	if d.MaxLen == 0 || o.MaxLen == 0 {
		d.MaxLen, o.MaxLen = 0, 0
	}
	return d == o
}

// normalDaemons returns the daemons in normal form, the backup first: it is to
// listen before anybody speaks.
func normalDaemons(daemons []Daemon) []Daemon {
	n := make([]Daemon, len(daemons))
	for i, d := range daemons {
		n[i] = d.normal()
	}
	slices.SortFunc(n, func(a, b Daemon) int { return cmp.Compare(b.Role, a.Role) })
	return n
}

// Config is what the operator wants of connection synchronisation.
type Config struct {
	// Interface carries the multicast; with the channel as transport it is "lo",
	// whatever it is here.
	Interface string
	// ID is the sync group, 1 to 255.
	ID uint8
	// Transport is how live records travel; empty is Multicast.
	Transport Transport
	// Group, TTL and MaxLen are those of both daemons; see Daemon.
	Group  netip.AddrPort
	TTL    uint8
	MaxLen uint16
	// ByRole runs one daemon at a time, as keepalived does: the master's where a
	// virtual address is, the backup's elsewhere.
	ByRole bool
	// Gate is how long a director that starts waits for the connections of a living
	// one before it takes addresses from it.
	Gate time.Duration
	// Refresh is the time after which the kernel tells again of a connection that
	// goes on, in whole seconds; zero leaves the kernel to count packets.
	Refresh time.Duration
	// TemplatesOnly has the kernel send no connections of persistent services, only
	// their templates.
	TemplatesOnly bool
	// Buffer is the memory for messages that wait in the daemons' sockets, in octets;
	// zero leaves it to the kernel.
	Buffer int
}

// loopback is the interface where the daemons are with the channel as transport: no
// message leaves the machine or comes from outside.
const loopback = "lo"

// Daemons returns what a director of the group runs: both daemons.
func (c Config) Daemons() []Daemon {
	d := Daemon{Interface: c.Interface, ID: c.ID, Group: c.Group, TTL: c.TTL, MaxLen: c.MaxLen}
	backup, master := d, d
	if c.Transport == Channel {
		backup.Interface, master.Interface = loopback, loopback
		// There a host hears itself.
		backup.ID = c.ID%255 + 1
	}
	backup.Role, master.Role = Backup, Master
	return []Daemon{backup, master}
}

// Validate returns every reason, in words, why a daemon cannot be started, or
// nil. The reasons are joined (errors.Join).
func Validate(d Daemon) error {
	var problems []error
	bad := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("sync daemon %s: "+format, append([]any{d.Role}, args...)...))
	}
	if d.Role != Master && d.Role != Backup {
		bad("is neither master nor backup")
	}
	switch {
	case d.Interface == "":
		bad("interface is missing")
	case len(d.Interface) > maxInterfaceName:
		bad("interface %q is longer than %d bytes", d.Interface, maxInterfaceName)
	}
	if d.ID == 0 {
		bad("id 0 is not between 1 and 255")
	}
	if g := d.normal().Group; !g.Addr().IsMulticast() || g.Addr().Is4In6() || g.Port() == 0 {
		bad("group %s is not a multicast address and port", g)
	}
	if d.MaxLen != 0 && d.MaxLen < MinMaxLen {
		bad("maximum length %d is less than %d", d.MaxLen, MinMaxLen)
	}
	return errors.Join(problems...)
}

// MinMaxLen is the least Daemon.MaxLen that the kernel takes of a backup.
const MinMaxLen = 1024

// maxInterfaceName is IP_VS_IFNAME_MAXLEN without its final zero.
const maxInterfaceName = 15
