// Package bfd is Bidirectional Forwarding Detection between directors (RFC 5880,
// and RFC 5881 for a single hop): it finds a dead one in tens of milliseconds
// where VRRP needs three advertisement intervals.
//
// What there is: asynchronous mode over one hop, both families, both ends in the
// active role. What there is not: echo, demand mode of our own (a peer may ask
// for it), authentication.
//
// A Session is pure: Step takes the time and an event and returns actions,
// Deadline says when it wants a Tick. An Engine runs all sessions on one locked OS
// thread.
//
// Sessions follow the advertisements. A Backup watches the address that the last
// accepted advertisement came from, and the Active takes any neighbour's session
// on the interfaces where it runs virtual routers, as it cannot know who its
// silent backups are. So a session is always between the very addresses that VRRP
// uses, link-local ones included, and what it says about a peer is said about the
// sender of the advertisements. TTL 255 keeps out whoever is not on the segment,
// and a stranger on it gains nothing: only the end of a session that was up, by
// its own detection time, has any effect.
//
// A peer that was taken for dead and is back as the same process, by its
// discriminator, was a false alarm: for a while then the session is not believed, and
// VRRP's own timers decide. This is a stated restriction of BFD-VR-01.
//
// Only that effect is wanted. An end that is administrative, or that the peer
// announces, says nothing about forwarding; a director that stops or restarts
// says so before it goes, so that its restart is not its death. It repeats that
// farewell faster than the one packet a second that RFC 5880 allows to a session
// that is not up, since a lost farewell would be a takeover, and with a detection
// multiplier of 1, so that the peer soon forgets the old discriminator and
// the next process finds it ready.
package bfd
