package connsync

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
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

// normal returns the daemon with the default group written out.
func (d Daemon) normal() Daemon {
	if d.Group == (netip.AddrPort{}) {
		d.Group = DefaultGroup()
	}
	return d
}

// same reports whether two normal daemons need no change to be each other.
func (d Daemon) same(o Daemon) bool {
	if d.Index == 0 || o.Index == 0 {
		d.Index, o.Index = 0, 0
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
	// Interface carries the multicast.
	Interface string
	// ID is the sync group, 1 to 255.
	ID uint8
}

// Daemons returns what a director of the group runs: both daemons.
func (c Config) Daemons() []Daemon {
	return []Daemon{
		{Role: Backup, Interface: c.Interface, ID: c.ID},
		{Role: Master, Interface: c.Interface, ID: c.ID},
	}
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
	return errors.Join(problems...)
}

// maxInterfaceName is IP_VS_IFNAME_MAXLEN without its final zero.
const maxInterfaceName = 15
