package vrrp

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Constants of the parts that RFC 9568 does not know.
const (
	// grace is how long a leaving router serves after the next Active's first
	// advertisement: keepalived advertises before it installs addresses.
	grace = 50 * time.Millisecond
	// takesEach is what the next Active is given for each address that it has to install,
	// in some systems one after another, and takesMost what it is given for all.
	takesEach = 3 * time.Millisecond
	takesMost = 10 * time.Second
	// leaveSlack is how much later than it should a peer may take over from a
	// released router without a gap: it may be starved of its processor for a while.
	// The released router serves meanwhile, so the wait costs nothing.
	leaveSlack = time.Second
	// lastWords is for how long announcements of the Active before are no conflict:
	// what its interface had in its queue.
	lastWords = 2 * time.Second
	// replyBurst is how many immediate replies may go out back to back; one
	// more is earned each quarter of an interval (V3-ACT-13).
	replyBurst = 3
	// deafAfter is how many losing advertisements of one sender in a row say
	// that it does not hear us (SIM-PART-04).
	deafAfter = 3
	// contestedAfter is how often within a minute somebody has to remove addresses
	// for an alarm.
	contestedAfter = 3
	// restoreEvery limits how often one removed address is put back.
	restoreEvery = time.Second
	// defendEvery limits announcements against a conflict (RFC 5227 section
	// 2.4, DEFEND_INTERVAL).
	defendEvery = 10 * time.Second
	// holdDownMin and holdDownMax bound the time in Fault after addresses
	// could not be installed. It doubles from one to the other.
	holdDownMin = 10 * time.Second
	holdDownMax = 5 * time.Minute
)

// Router is one virtual router as a value: it has no clock, socket, goroutine
// or logger. Step feeds it, Deadline says when it wants a Tick.
type Router struct {
	cfg Config
	key Key
	// all are the advertised addresses, then the excluded ones.
	all   []Address
	link  LinkChange
	state State
	// reason is why the router is in its state. In Backup it is empty once an
	// Active is heard, and Reason says who that is.
	reason string
	since  time.Time
	// started is between Startup and Shutdown.
	started bool
	resume  *Resume

	// timer is Adver_Timer in Active and Active_Down_Timer in Backup and in
	// Leaving after a preemption. They never run together.
	timer time.Time
	// armed is when the timer last began, for reasons in milliseconds.
	armed time.Time
	// learned is Active_Adver_Interval.
	learned time.Duration
	// active is the sender of the last acceptable advertisement.
	active heard
	// released says that the Active sent priority 0 and nothing acceptable was
	// heard since. It keeps a flood of them from postponing the takeover.
	released bool
	// rival is the last sender of a losing advertisement.
	rival heard
	// graced says that a late Active_Down_Timer had its one extension.
	graced bool
	// pathDown is since when the Active's path is known to be dead, with nothing
	// heard of it since; zero when it is not.
	pathDown time.Time
	// preemptAt is when a living Active of lower priority is left in peace no
	// longer; zero when there is none.
	preemptAt time.Time
	// holdOff is when the router may take over for the first time, if nobody is
	// heard before.
	holdOff time.Time

	// tracked, yield and group are what others decided.
	tracked Tracked
	yield   yield
	group   membership

	// serving says that the addresses are installed, which in Backup is so
	// only while a resumed router listens.
	serving bool
	// leave is valid in Leaving.
	leave leave
	// announcements are due in this order, and only in Active.
	announcements []announcement
	// reannounced is when a losing advertisement last started a series.
	reannounced time.Time
	// stalled says that the next advertisement must come with announcements.
	stalled bool
	// handover says of an Active that somebody may have been serving before it.
	handover bool
	replies  bucket
	// lost are addresses to be put back, and when. restored is when those that
	// were put back before were.
	lost       map[Address]time.Time
	restored   map[Address]time.Time
	contested  contest
	defendedAt time.Time
	// holdUntil ends a Fault because of addresses that could not be installed.
	holdUntil time.Time
	holdDown  time.Duration

	peers []peer
	// strangerTold is when a mismatch of a sender was told that the file does not know.
	strangerTold time.Time
	counters     Counters
	// alarms are the conditions that operators should know of now.
	alarms []Alarm
	// out holds the actions of the last Step.
	out []Action
}

// contest counts how often addresses had to be put back.
type contest struct {
	at    time.Time
	times int
}

// heard is an advertisement worth remembering.
type heard struct {
	source   netip.Addr
	priority uint8
	at       time.Time
	// times counts advertisements of the source in a row.
	times int
}

// NewRouter returns a virtual router in Initialize. The configuration must be
// valid. Its interface counts as unusable until a LinkChange.
func NewRouter(cfg Config) *Router {
	cfg = cfg.resolved()
	return &Router{
		cfg:     cfg,
		key:     cfg.Key(),
		all:     cfg.held(),
		link:    LinkChange{Problem: "interface " + cfg.Interface + " was not looked at yet"},
		reason:  "not started",
		learned: cfg.Interval,
		lost:    make(map[Address]time.Time), restored: make(map[Address]time.Time),
	}
}

// Step tells the router one event and returns what is to be done. The slice is
// valid until the next Step. now never goes back.
func (r *Router) Step(now time.Time, ev Event) []Action {
	r.out = r.out[:0]
	switch ev := ev.(type) {
	case *Received:
		r.received(now, ev)
	case Tick:
		r.tick(now)
	case Startup:
		r.startup(now, ev)
	case Shutdown:
		r.shutdown(now)
	case LinkChange:
		r.linkChange(now, ev)
	case Announced:
		r.announced(now, ev)
	case Reconfigure:
		r.reconfigure(now, ev.Config.resolved())
	case AddressLost:
		r.addressLost(now, ev.Address)
	case InstallFailed:
		r.installFailed(now, ev.Err)
	case Stalled:
		r.noteStall(now, ev.For)
	case Tracked:
		r.track(now, ev)
	case Yield:
		r.startYield(now, ev.Until)
	case Unyield:
		r.endYield(now)
	case PeerDown:
		r.peerDown(now, ev)
	case GroupFault:
		r.group.problem = ev.Problem
		r.reassess(now)
	case GroupPromote:
		r.promote(now)
	case GroupDemote:
		r.demote(now, ev.Reason)
	default:
		panic(fmt.Sprintf("vrrp: event %T is not known", ev))
	}
	return r.out
}

// Deadline is when the router wants a Tick; zero means not before an event.
func (r *Router) Deadline() time.Time {
	d := earliest(r.timer, r.holdUntil)
	for _, at := range r.lost {
		d = earliest(d, at)
	}
	if r.state == Leaving {
		d = earliest(d, r.leave.until)
	}
	if len(r.announcements) > 0 {
		d = earliest(d, r.announcements[0].at)
	}
	for i := range r.alarms {
		d = earliest(d, r.alarms[i].until)
	}
	return earliest(d, r.yield.until)
}

// beat is when the next periodic advertisement is due; zero is never.
func (r *Router) beat() time.Time {
	if r.state != Active {
		return time.Time{}
	}
	return r.timer
}

// State is the router's state.
func (r *Router) State() State { return r.state }

// Key is what the router's continuity goes by.
func (r *Router) Key() Key { return r.key }

// Held are the addresses that come with being Active, excluded ones too, each
// with its interface.
func (r *Router) Held() []Address { return r.all }

// Config is the configuration in force, every address with its interface.
func (r *Router) Config() Config { return r.cfg }

// Priority is the priority in force: the configured one with what tracking adds,
// which never makes an owner of a router or an owner less than that (V3-OWN-01,
// V3-OWN-03).
func (r *Router) Priority() uint8 {
	if r.cfg.Priority == priorityOwner {
		return priorityOwner
	}
	return uint8(min(max(int(r.cfg.Priority)+r.tracked.Adjust, 1), priorityOwner-1))
}

// Source is the address advertisements are sent from; not valid when there is
// none.
func (r *Router) Source() netip.Addr { return r.link.Source }

// Serving says whether the router wants its addresses in the kernel.
func (r *Router) Serving() bool { return r.serving }

// Counters are what the router counted so far.
func (r *Router) Counters() Counters { return r.counters }

// Advertisement is what a Send of this priority puts on the wire.
func (r *Router) Advertisement(priority uint8) Advertisement {
	return Advertisement{
		Version:   r.cfg.Version,
		VRID:      r.cfg.VRID,
		Priority:  priority,
		Interval:  r.cfg.Interval,
		Addresses: addrs(r.cfg.Addresses),
	}
}

// Reason says in a sentence why the router is in its state.
func (r *Router) Reason() string {
	if r.state == Backup && r.reason == "" {
		if r.released {
			return fmt.Sprintf("%s released the addresses", r.name(r.active.source))
		}
		return fmt.Sprintf("%s advertises %d%s", r.name(r.active.source), r.active.priority, r.patience())
	}
	return r.reason
}

// emit adds an action to the step.
func (r *Router) emit(a Action) { r.out = append(r.out, a) }

// notice adds a notice to the step.
func (r *Router) notice(now time.Time, kind NoticeKind, format string, args ...any) {
	r.emit(Notice{Router: r.cfg.Name, Key: r.key, Kind: kind, Text: fmt.Sprintf(format, args...), At: now})
}

// send adds an advertisement to the step.
func (r *Router) send(priority uint8) {
	if priority == 0 {
		r.counters.PriorityZeroSent++
	}
	r.emit(Send{Priority: priority})
}

// skew is Skew_Time for what was learned.
func (r *Router) skew() time.Duration { return skewTime(r.cfg.Version, r.Priority(), r.learned) }

// downInterval is Active_Down_Interval for what was learned.
func (r *Router) downInterval() time.Duration {
	return activeDownInterval(r.cfg.Version, r.Priority(), r.learned)
}

// armDown starts Active_Down_Timer.
func (r *Router) armDown(from time.Time, d time.Duration) {
	r.timer, r.armed = from.Add(d), from
}

// name is how operators know a sender: by its name in the file, if it has one.
func (r *Router) name(source netip.Addr) string {
	if i := slices.IndexFunc(r.cfg.Peers, func(p Peer) bool { return p.Address == source }); i >= 0 {
		return fmt.Sprintf("%s (%s)", r.cfg.Peers[i].Name, source)
	}
	return source.String()
}

// others is how operators know the directors that could take over.
func (r *Router) others() string {
	if len(r.cfg.Peers) == 1 {
		return r.cfg.Peers[0].Name
	}
	return "another director"
}

// bucket is a token bucket.
type bucket struct {
	tokens float64
	at     time.Time
}

// take says whether there is a token, of which one comes every refill up to
// limit. The first call finds the bucket full.
func (b *bucket) take(now time.Time, refill time.Duration, limit float64) bool {
	if b.at.IsZero() {
		b.tokens = limit
	} else {
		b.tokens = min(limit, b.tokens+float64(now.Sub(b.at))/float64(refill))
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
