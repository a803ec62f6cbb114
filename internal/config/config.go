package config

import (
	"crypto/ed25519"
	"net/netip"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/bfd"
	"lvsha/internal/notify"
	"lvsha/internal/peer"
	"lvsha/internal/track"
	"lvsha/ipvs"
	connsync "lvsha/sync"
	"lvsha/vrrp"
)

// DefaultFile is read when no other file is named.
const DefaultFile = "/etc/lvsha/lvsha.toml"

// Config is a valid file as one director sees it. All lists are sorted by name
// and the same file always gives the same Config.
type Config struct {
	// File is the name it was read under.
	File string
	// Director is the name of this director; empty when the file names none.
	Director string
	// Directors are all directors of the file, this one included.
	Directors []Director
	// Routers are ready for the VRRP engine: Peers are the other directors that
	// have the router, Unicast is their addresses where the router is unicast,
	// and then Source this director's own. An IPv6 router's list begins with its
	// link-local address, derived from the VRID where the file has none.
	Routers []vrrp.Config
	// Groups are the sync groups, whose members are among Routers.
	Groups []vrrp.GroupConfig
	// Pacing is how announcements are spaced.
	Pacing []vrrp.Pacing
	// Conditions are what is watched, and Tracks what each router depends on; one
	// that depends on nothing has none.
	Conditions []track.Condition
	Tracks     map[vrrp.Key][]track.Ref
	// Services are the virtual services.
	Services []Service
	// BFD is what sessions with the other directors negotiate with; nil when the
	// file has no such section.
	BFD *bfd.Params
	// Channel is how the directors speak to each other.
	Channel Channel
	// Hash tells texts of the file apart.
	Hash string
	// Notify is who is told of the states of routers and groups.
	Notify notify.Config
	// ManageSysctls has lvsha set the kernel's parameters that it needs.
	ManageSysctls bool
	// Sync is nil when the file has no such section.
	Sync *connsync.Config
	// Health is how this director judges itself.
	Health Health
	// Protection is who may speak to the sync daemon; nil is everybody.
	Protection *Protection
	// Timeouts are those of the kernel's connections; zero ones are left as they are.
	Timeouts ipvs.Timeouts
}

// Health is the [health] section.
type Health struct {
	// Doubt is how long nothing heard from any server may be held against this
	// director rather than the servers; zero is not at all.
	Doubt time.Duration
	// DoubtWeight is added to the priority of its virtual routers meanwhile; it is
	// negative or zero.
	DoubtWeight int
}

// Director is a [director.NAME] section.
type Director struct {
	Name string
	// Addresses are the director's own, at most one per family; may be empty.
	Addresses []netip.Addr
	// Priority is the default of its virtual routers, 1 to 255.
	Priority uint8
	// Pin is its key for the channel between directors; zero when the file has none.
	Pin peer.Pin
	// Port is where it listens for the other directors.
	Port uint16
}

// Channel is this director's end of the channel between directors.
type Channel struct {
	// KeyFile is where the private key is.
	KeyFile string
	// Key is the private key; nil when there is none to use. Problem says why there
	// is none although the file has this director's pin: that is found out on
	// its own machine only, and no fault of the file.
	Key     ed25519.PrivateKey
	Problem string
}

// Service is a [service.NAME] section.
type Service struct {
	Name string
	// Listen are the virtual services it stands for, at least one, in the order
	// of the file. Names may change, these keys may not.
	Listen []ipvs.ServiceKey
	// Covers are the addresses and ports whose packets lvsha marks for this service, in
	// the order of the file. With them Listen is that mark, once for each family.
	Covers []Cover
	// Scheduler is the kernel's name of it.
	Scheduler string
	// Flags are those of the scheduler.
	Flags ipvs.SchedulerFlags
	// OnePacket schedules each datagram for itself.
	OnePacket bool
	// Forward, FullNAT and Tunnel are the defaults of its servers.
	Forward ipvs.Forward
	FullNAT bool
	Tunnel  ipvs.Tunnel
	// Persistence is in whole seconds; zero is none.
	Persistence time.Duration
	// PersistenceMask is 1 to 32, or to 128 where all of Listen are IPv6; zero is the
	// whole address, and when there is no persistence.
	PersistenceMask uint8
	// Engine is the persistence engine, empty for none.
	Engine string
	// FTP says that the kernel's helper is to look into the connections for others.
	FTP bool
	// Require says how many of a server's checks must be up.
	Require healthcheck.Require
	// Servers are the real servers in the order of the file; empty only beside a
	// Sorry server.
	Servers []Server
	// Sorry gets the traffic without a quorum; nil is none.
	Sorry *Server
	// Rules say how the servers share the traffic.
	Rules healthcheck.PoolRules
	// Initial is where a server starts that the kernel does not have in use.
	Initial healthcheck.State
	// Quiesces says that a server that fails stays in the kernel at weight 0 instead of
	// being removed.
	Quiesces bool
	// Respects says that what somebody changes of the service in the kernel stays until
	// the next reload.
	Respects bool
	// Follows is the service whose checks decide about the servers; empty is none.
	Follows string
}

// Server is a real server of a service.
type Server struct {
	// Address has port 0 when the port is that of each listen.
	Address netip.AddrPort
	// Weight is 0 to 65535.
	Weight int
	// Forward is the forwarding method, never zero.
	Forward ipvs.Forward
	// FullNAT says of NAT that connections come from a source address out of Source.
	FullNAT bool
	Source  Pool
	// Self says that the server is the director itself, and Peer that it is another
	// director, by its address. The packets to them are not changed: under NAT they are
	// servers like any other.
	Self, Peer bool
	// Tunnel is how packets are wrapped where Forward is TUN.
	Tunnel ipvs.Tunnel
	// UpperThreshold is how many connections keep new ones away until there are fewer
	// than LowerThreshold; zero is none.
	UpperThreshold, LowerThreshold int
	// Checks are what decides whether it is up; none means always up. A check
	// with port 0 probes the server's port.
	Checks []healthcheck.Check
}

// At is the server as the destination of one listen: its address with the
// listen's port where it has none of its own.
func (s Server) At(listen ipvs.ServiceKey) netip.AddrPort {
	if s.Address.Port() != 0 {
		return s.Address
	}
	return netip.AddrPortFrom(s.Address.Addr(), listen.Addr.Port())
}

// Identity is how a director finds its own section.
type Identity struct {
	// As is the name the operator gave (lvsha run --as NAME); empty means to go
	// by Hostname.
	As string
	// Hostname is the machine's: the whole name is tried, then its first label.
	Hostname string
	// Server says that the machine is no director but a real server, which reads the
	// file as its first director does and has none of the files with secrets.
	Server bool
	// looks says that advice is wanted about what this machine does not have.
	looks bool
}
