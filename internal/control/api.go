package control

import (
	"context"
	"time"
)

// Paths of the requests that the daemon answers.
const (
	pathAlive  = "/v1/alive"
	pathStatus = "/v1/status"
	pathEvents = "/v1/events"
	pathReload = "/v1/reload"
	pathYield  = "/v1/yield"
	// pathServers is about single servers of services.
	pathServers = "/v1/servers"
	pathPlan    = "/v1/plan"
	pathResync  = "/v1/sync/resync"
)

// DefaultSocket is where the daemon listens unless it is told otherwise.
const DefaultSocket = "/run/lvsha/control.sock"

// Daemon is what the socket shows of the daemon.
type Daemon interface {
	// Status returns the state of everything now.
	Status() Status
	// StatusOf returns that of the virtual routers and services of some names alone. An
	// error is about a name that nothing has.
	StatusOf(names []string) (Status, error)
	// Reload applies the file again. It returns when the file is applied or
	// refused; when it is refused nothing has changed.
	Reload(ctx context.Context) (Reloaded, error)
	// Yield gives virtual routers to another director, or ends that. It returns
	// when somebody has taken them; an error says who stays active, and why.
	Yield(ctx context.Context, ask YieldRequest) (Yielded, error)
	// Plan tells what applying a file would change. It changes nothing.
	Plan(ctx context.Context, ask PlanRequest) (Plan, error)
	// Servers does something to servers. It returns when the kernel has it.
	Servers(ctx context.Context, ask ServersRequest) (ServersChanged, error)
	// Resync takes the connections of another director over now, or compares them. It
	// returns when that is done.
	Resync(ctx context.Context, ask ResyncRequest) (SyncResult, error)
	// Events returns the events kept whose Seq is higher than after, oldest
	// first, and a channel that is closed when there is a newer one.
	Events(after uint64) ([]Event, <-chan struct{})
}

// Status is the answer of `lvsha status --json`. It is a contract: fields are
// added, never renamed or removed.
type Status struct {
	Director   string    `json:"director"`
	Version    string    `json:"version"`
	Generation uint64    `json:"generation"`
	Started    time.Time `json:"started"`
	File       string    `json:"file"`
	// Goroutines counts what runs in the daemon; it does not grow with time.
	Goroutines int `json:"goroutines"`
	// Problems are what a person should look at, each a sentence.
	Problems []string `json:"problems"`
	VRRP     []Router `json:"vrrp"`
	// Conditions are what virtual routers depend on.
	Conditions []Condition `json:"conditions"`
	Services   []Service   `json:"services"`
	// Foreign are services in the kernel that lvsha leaves alone.
	Foreign []string `json:"foreign"`
	// BFD are the sessions with other directors; absent without [bfd].
	BFD []BFDSession `json:"bfd,omitempty"`
	// BFDDropped counts BFD packets that belong to no session, by reason.
	BFDDropped map[string]uint64 `json:"bfd_dropped,omitempty"`
	IPVS       IPVS              `json:"ipvs"`
	// Channel is how the directors speak to each other; absent where the file names
	// no other director.
	Channel *Channel `json:"channel,omitempty"`
	Sync    *Sync    `json:"sync"`
	// Filter is what services need of nftables; absent where none needs anything.
	Filter *Filter `json:"packet_filter,omitempty"`
}

// Filter is the state of the tables of nftables that are lvsha's.
type Filter struct {
	// State is ok, starting or what fails, in words.
	State string `json:"state"`
	// Repaired counts how often somebody else's change was put back.
	Repaired uint64 `json:"repaired"`
	// Marks counts the ranges of addresses and ports whose packets get a mark.
	Marks int `json:"marks,omitempty"`
	// Sources counts the pairs of a virtual service and a server whose connections get
	// another source address.
	Sources int `json:"sources,omitempty"`
}

// Router is one virtual router.
type Router struct {
	Name      string `json:"name"`
	VRID      uint8  `json:"vrid"`
	Family    int    `json:"family"`
	Interface string `json:"interface"`
	Version   int    `json:"version"`
	// State is initialize, backup, active, leaving or fault.
	State     string    `json:"state"`
	Priority  int       `json:"priority"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason"`
	Interval  string    `json:"advertise"`
	Addresses []string  `json:"addresses"`
	Peers     []Peer    `json:"peers"`
	// Counters are this router's since the daemon started, those that are zero left out.
	Counters map[string]uint64 `json:"counters,omitempty"`
	// Problems are what keeps the router from working as configured.
	Problems []string `json:"problems,omitempty"`
	// Configured is the file's priority, and Tracking what makes the difference to
	// the one in force.
	Configured int    `json:"configured_priority"`
	Tracking   string `json:"tracking,omitempty"`
	// Group is the sync group.
	Group string `json:"group,omitempty"`
	// Yielding says that an operator gave the addresses away, until YieldUntil or
	// until told otherwise.
	Yielding   bool       `json:"yielding,omitempty"`
	YieldUntil *time.Time `json:"yield_until,omitempty"`
	// Alarms are conditions that last, such as another active director.
	Alarms []Alarm `json:"alarms"`
	// Jitter tells how late advertisements were sent.
	Jitter *Jitter `json:"jitter,omitempty"`
}

// Alarm is something that is the matter now. Kind is another-active,
// peer-does-not-hear, stall, duplicate-router, conflict or address-contested.
type Alarm struct {
	Kind  string    `json:"kind"`
	Text  string    `json:"text"`
	Since time.Time `json:"since"`
}

// Jitter is how late periodic advertisements were sent since the daemon started.
type Jitter struct {
	Count uint64 `json:"count"`
	P50   string `json:"p50"`
	P99   string `json:"p99"`
	P9999 string `json:"p99.99"`
	Max   string `json:"max"`
}

// Condition is something that virtual routers depend on.
type Condition struct {
	Name string `json:"name"`
	// State is unknown, ok or failed.
	State  string     `json:"state"`
	Since  *time.Time `json:"since,omitempty"`
	Reason string     `json:"reason"`
	// Value is the number in a file.
	Value int `json:"value,omitempty"`
}

// YieldRequest asks for a yield.
type YieldRequest struct {
	// Router is a name; empty means all that can yield.
	Router string `json:"router"`
	// For is when it ends by itself; zero is never.
	For time.Duration `json:"for"`
	// Back ends a yield.
	Back bool `json:"back"`
	// Now does not wait until the other director knows all connections.
	Now bool `json:"now"`
}

// Yielded is the answer to a yield that was carried out: the virtual routers as
// they are now.
type Yielded struct {
	Routers []Router `json:"routers"`
	// Unkept says that the request holds but could not be written down, and why.
	Unkept string `json:"unkept,omitempty"`
}

// Peer is another director as one virtual router knows it.
type Peer struct {
	Name string `json:"name"`
	// Address is empty when the file has none of the router's family.
	Address  string `json:"address"`
	Priority int    `json:"priority"`
	// Source tells where the priority is from: file, vrrp or channel.
	Source   string     `json:"source"`
	LastSeen *time.Time `json:"last_seen"`
	// Refused says why what it sent last does not count; empty when it does.
	Refused string `json:"refused,omitempty"`
}

// Service is one virtual service.
type Service struct {
	Name   string   `json:"name"`
	Listen []string `json:"listen"`
	// Covers are the addresses and ports whose packets get the mark in Listen by
	// lvsha's rules.
	Covers    []string `json:"covers,omitempty"`
	Scheduler string   `json:"scheduler"`
	// SchedulerFlags are such as mh-port; OnePacket schedules each datagram for itself.
	SchedulerFlags []string `json:"scheduler_flags,omitempty"`
	OnePacket      bool     `json:"one_packet,omitempty"`
	Forward        string   `json:"forward"`
	// State is up, sorry (only the sorry server is left) or down (nobody gets the traffic
	// of the service, or of one of its addresses), and Serving how many servers get some.
	State   string   `json:"state"`
	Reason  string   `json:"reason"`
	Serving int      `json:"serving"`
	Servers []Server `json:"servers"`
	Sorry   *Server  `json:"sorry,omitempty"`
	// Quorum is whether the weights of the servers that are up add up to enough.
	Quorum bool `json:"quorum"`
	// Follows is the service whose checks decide about the servers.
	Follows string `json:"follows,omitempty"`
	// Require is how many of a server's checks have to be up: all, any or a number.
	Require string `json:"require"`
	// WeightUp is what the weights of the servers that are up add up to; the quorum
	// is gained at QuorumWeight + Hysteresis, and lost below QuorumWeight - Hysteresis.
	WeightUp     int `json:"weight_up"`
	QuorumWeight int `json:"quorum_weight"`
	Hysteresis   int `json:"hysteresis,omitempty"`
	// Scale is by how much all weights are multiplied in the kernel, so that a share
	// can grow in steps.
	Scale int `json:"scale"`
	// Traffic is over all addresses of the service; absent while the kernel has none of
	// them.
	Traffic *Traffic `json:"traffic,omitempty"`
}

// Traffic is what the kernel has counted since a service or server was made, and the rates
// of the last seconds. Under dr and tun answers do not pass the director, and nothing goes
// out.
type Traffic struct {
	Connections    uint64 `json:"connections"`
	InPackets      uint64 `json:"in_packets"`
	OutPackets     uint64 `json:"out_packets"`
	InBytes        uint64 `json:"in_bytes"`
	OutBytes       uint64 `json:"out_bytes"`
	ConnectionRate uint64 `json:"connections_per_second"`
	InPacketRate   uint64 `json:"in_packets_per_second"`
	OutPacketRate  uint64 `json:"out_packets_per_second"`
	InByteRate     uint64 `json:"in_bytes_per_second"`
	OutByteRate    uint64 `json:"out_bytes_per_second"`
}

// Server is one real server of a service. Active and Inactive are the kernel's
// connection counts over all addresses of the service.
type Server struct {
	Address string `json:"address"`
	Weight  int    `json:"weight"`
	// State is unknown, up, down, draining or disabled; a sorry server is standby or in use,
	// and one of ServersChanged that has left the file is absent.
	State    string    `json:"state"`
	Since    time.Time `json:"since"`
	Reason   string    `json:"reason"`
	Active   int       `json:"active"`
	Inactive int       `json:"inactive"`
	// Templates are the clients that persistence leads to it.
	Templates int `json:"templates"`
	// UpperThreshold is how many connections keep new ones away until there are fewer
	// than LowerThreshold.
	UpperThreshold int `json:"upper_threshold,omitempty"`
	LowerThreshold int `json:"lower_threshold,omitempty"`
	// Forward is how packets get to it, and Source where they come from under fullnat.
	Forward string `json:"forward"`
	Source  string `json:"source,omitempty"`
	// Tunnel is how packets to it are wrapped, where they are: "ipip", "gue port 6080".
	Tunnel string `json:"tunnel,omitempty"`
	// Peers are what other directors see of it, by name.
	Peers map[string]ServerView `json:"peers,omitempty"`
	// Used is whether it is in the pool, and Share its weight in the kernel.
	Used  bool `json:"used"`
	Share int  `json:"share"`
	// Traffic is over all addresses of the service; absent while the kernel does not have
	// the server.
	Traffic *Traffic `json:"traffic,omitempty"`
	// Checks are what decides about it.
	Checks []Check `json:"checks"`
}

// Check is one check of a server.
type Check struct {
	// Check names the target and what is asked, such as "192.0.2.21:80 http /healthz".
	Check string `json:"check"`
	// State is unknown, up or down, since a time and for a reason.
	State  string    `json:"state"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
	// Interval separates the starts of two probes, and Timeout bounds one.
	Interval string `json:"interval"`
	Timeout  string `json:"timeout"`
	// Rise successes in a row make it up, Fall failures make it down.
	Rise int `json:"rise"`
	Fall int `json:"fall"`
	// Streak counts the results in a row that contradict the state.
	Streak int `json:"streak,omitempty"`
	// Last is the last probe; absent before the first.
	Last *Probe `json:"last,omitempty"`
	// Advice is what the check says of the server's share, and Warning what will be
	// the matter some day.
	Advice  string `json:"advice,omitempty"`
	Warning string `json:"warning,omitempty"`
	// History are the last 20 changes of state, oldest first.
	History []Transition `json:"history"`
	// Latency counts the probes that passed by how long they took; empty buckets are
	// left out.
	Latency []Bucket `json:"latency"`
	// Probes counts all; of Failures the server is to blame, of Inconclusive this
	// machine; Panics are the failures that were a fault of the check itself, and Late
	// are those that began late.
	Probes       uint64 `json:"probes"`
	Failures     uint64 `json:"failures"`
	Inconclusive uint64 `json:"inconclusive"`
	Panics       uint64 `json:"panics,omitempty"`
	Late         uint64 `json:"late"`
}

// Probe is the result of one probe.
type Probe struct {
	Time    time.Time `json:"time"`
	Latency string    `json:"latency"`
	OK      bool      `json:"ok"`
	Reason  string    `json:"reason"`
}

// Bucket counts what took at most UpTo, and longer than the bucket before it. The
// last one has no bound, and "inf".
type Bucket struct {
	UpTo  string `json:"up_to"`
	Count uint32 `json:"count"`
}

// Transition is a change of state.
type Transition struct {
	Time   time.Time `json:"time"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Reason string    `json:"reason"`
}

// ServerView is what another director sees of a server, by its own clock.
type ServerView struct {
	State  string    `json:"state"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// Channel is this director's end of the channel between directors.
type Channel struct {
	// State is on or off, and Reason why it is off.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Key is this director's public key.
	Key string `json:"key,omitempty"`
	// Listening are the addresses where other directors connect.
	Listening []string `json:"listening"`
	// Refused counts connections that were closed before anything was said, by
	// reason.
	Refused map[string]uint64 `json:"refused,omitempty"`
	Peers   []ChannelPeer     `json:"peers"`
}

// ChannelPeer is another director.
type ChannelPeer struct {
	Name string `json:"name"`
	// State is connected, connecting or "no key"; Since is when that began, and
	// Reason why it is not connected.
	State  string    `json:"state"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
	// Remote is the other end of the connection.
	Remote  string `json:"remote,omitempty"`
	Version string `json:"version,omitempty"`
	// Epoch is another one for each start of the process; Restarts counts those seen.
	Epoch     string     `json:"epoch,omitempty"`
	Restarts  uint64     `json:"restarts"`
	LastHeard *time.Time `json:"last_heard,omitempty"`
	// SameFile is whether it runs the same file.
	SameFile *bool `json:"same_file,omitempty"`
	// Compared are the checks that both directors have, NotCompared those that only
	// one has, Differences those over which they differ now, and DifferencesTotal all
	// there have been since the daemon started.
	Compared         int    `json:"compared"`
	NotCompared      int    `json:"not_compared"`
	Differences      int    `json:"differences"`
	DifferencesTotal uint64 `json:"differences_total"`
	// The counters are since the daemon started, or the director came into the file.
	// Ignored are messages of another version.
	Connections      uint64 `json:"connections"`
	WrongKeys        uint64 `json:"wrong_keys"`
	FailedHandshakes uint64 `json:"failed_handshakes"`
	Sent             uint64 `json:"sent"`
	Received         uint64 `json:"received"`
	Ignored          uint64 `json:"ignored"`
}

// IPVS tells how the kernel's table follows the desired one.
type IPVS struct {
	// State is ok, or a sentence about what is waited for.
	State string `json:"state"`
	// Repaired counts changes made because the kernel's table had drifted.
	Repaired uint64 `json:"repaired"`
	Error    string `json:"error,omitempty"`
	// Checks are how checks get through services: for each server and method, one
	// service by firewall mark that leads to it alone.
	Checks []CheckPath `json:"checks,omitempty"`
}

// CheckPath is the way of checks through a service to one server.
type CheckPath struct {
	// Mark is the firewall mark of the probes and of a service in the kernel.
	Mark uint32 `json:"mark"`
	// Server has a port where the forwarding method changes it.
	Server  string `json:"server"`
	Forward string `json:"forward"`
	// Family is that of the service, 4 or 6, and Tunnel how packets are wrapped, where
	// they are.
	Family int    `json:"family"`
	Tunnel string `json:"tunnel,omitempty"`
	// Source is where the probes come from; empty is the kernel's choice.
	Source string `json:"source,omitempty"`
	// Problem is why the mark does not lead there now.
	Problem string `json:"problem,omitempty"`
}

// Sync is the state of connection synchronisation.
type Sync struct {
	Interface string   `json:"interface"`
	ID        uint8    `json:"id"`
	Daemons   []string `json:"daemons"`
	// State is "in sync", or what is the matter.
	State string `json:"state"`
	// Transport is "multicast" or "channel".
	Transport string `json:"transport,omitempty"`
	// Waiting is why a living director is left its addresses for now.
	Waiting string `json:"waiting,omitempty"`
	// Missing, Extra and Unbound are what the last comparison with each partner has
	// found in the end, and Verified since when nothing is missing of any partner that is connected.
	Missing  int        `json:"missing"`
	Extra    int        `json:"extra"`
	Unbound  int        `json:"unbound"`
	Verified *time.Time `json:"verified,omitempty"`
	// Known counts the entries that are followed by what the kernel tells; with
	// transport "channel".
	Known int `json:"known,omitempty"`
	// Queue is the memory that waits in the kernel's socket for sync messages, in octets,
	// and Dropped how many messages it has dropped.
	Queue   int    `json:"queue"`
	Dropped uint64 `json:"dropped"`
	// Partners are the other directors, as far as connections are concerned.
	Partners []SyncPartner `json:"partners,omitempty"`
}

// SyncPartner is another director, as far as connections are concerned.
type SyncPartner struct {
	Name      string `json:"name"`
	Connected bool   `json:"connected"`
	// Conns counts the entries that it says its services have.
	Conns int `json:"connections"`
	// Heard says that it has told of itself, and Serves how many virtual addresses it
	// has.
	Heard  bool `json:"heard"`
	Serves int  `json:"serves"`
	// SameServices says that it has the same services and servers.
	SameServices bool       `json:"same_services"`
	Verified     *time.Time `json:"verified,omitempty"`
	// Received and Sent are records of the kernel's, over the channel.
	Received uint64 `json:"received"`
	Sent     uint64 `json:"sent"`
	// Last is what became of taking its table over the last time.
	Last *SyncResult `json:"last,omitempty"`
}

// ResyncRequest asks for the connections of another director.
type ResyncRequest struct {
	// From is the director; empty is whoever serves.
	From string `json:"from"`
	// Compare changes nothing.
	Compare bool `json:"compare"`
}

// SyncResult is what became of taking another director's table over.
type SyncResult struct {
	From      string `json:"from"`
	Why       string `json:"why"`
	Records   int    `json:"records"`
	Installed int    `json:"installed"`
	Missing   int    `json:"missing"`
	Extra     int    `json:"extra"`
	Wrong     int    `json:"wrong"`
	Unbound   int    `json:"unbound"`
	Removed   int    `json:"removed"`
	// Unknown are entries that the other director could not hand over, because it could
	// not tell their service.
	Unknown  int       `json:"unknown,omitempty"`
	Compared string    `json:"compared,omitempty"`
	Repeated int       `json:"repeated"`
	Problem  string    `json:"problem,omitempty"`
	Began    time.Time `json:"began"`
	// Waiting, Taking and Looking are how long its parts took: until the first
	// record, until the last one was in the kernel, and the comparison.
	Waiting string `json:"waiting"`
	Taking  string `json:"taking"`
	Looking string `json:"looking"`
	// Text is all that in a line.
	Text string `json:"text"`
}

// BFDSession is a BFD session with another director.
type BFDSession struct {
	Interface string `json:"interface"`
	Local     string `json:"local"`
	Peer      string `json:"peer"`
	// State is AdminDown, Down, Init or Up.
	State  string    `json:"state"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
	// Diagnostic is why the state changed last, in the words of RFC 5880.
	Diagnostic  string `json:"diagnostic"`
	RemoteState string `json:"remote_state"`
	// The discriminators are the two ends' numbers of the session; 0 is not known.
	Discriminator       uint32 `json:"discriminator"`
	RemoteDiscriminator uint32 `json:"remote_discriminator"`
	// Watched says that this director follows the peer's advertisements; otherwise
	// the session is the peer's wish.
	Watched bool `json:"watched"`
	// Interval is how often packets are sent, and Detection after what silence the
	// peer is dead; 0s is never.
	Interval  string `json:"interval"`
	Detection string `json:"detection"`
	// Problem is why packets cannot be sent or heard.
	Problem string `json:"problem,omitempty"`
	// Counters are those that are not zero.
	Counters map[string]uint64 `json:"counters,omitempty"`
}

// Reloaded is the answer to a reload that was applied.
type Reloaded struct {
	Generation uint64 `json:"generation"`
	// Warnings are what did not take effect yet, each with its reason.
	Warnings []string `json:"warnings,omitempty"`
}

// Event is something that happened.
type Event struct {
	// Seq numbers events from 1 since the daemon started.
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	// Kind is the sort of event in one or two words, such as "vrrp" or "server".
	Kind string `json:"kind"`
	// Object is the name that the event is about.
	Object string `json:"object"`
	Text   string `json:"text"`
}
