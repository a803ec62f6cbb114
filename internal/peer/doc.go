// Package peer is the channel between directors: one mutually authenticated,
// encrypted connection for each pair of them, over which rooms speak.
//
// A director has an ed25519 key of its own, and the shared file has the public
// one of each, its Pin. Both ends of a connection prove theirs (TLS 1.3, certificates
// made at run time and worth nothing but their key); nobody else gets past the
// handshake, and nobody but an address of the file's directors gets as far.
//
// Everybody listens and everybody dials; one of each pair, by the order of the
// keys, dials at once and the other only after a while, so that a firewall that
// lets one direction pass does no harm and both ends know why there is no
// connection. Of two that cross, both ends keep the one that the first of the two
// keys has dialed.
//
// A room registers a Kind of message. Within a kind messages arrive in order, or
// the Session ends: a new one begins with nothing sent. There are two ways to
// send. Session.Send waits for room, so that a table of any size can be sent as a
// row of messages at the pace of its reader; requests and answers are made of it.
// A kind with Compose is for state of which only the newest matters: it is asked
// for what to say when it can be sent, and never before, so that nothing piles up
// for a slow reader. Each kind has a window: a reader that is slow, or waits, holds
// up the senders of its own kind and nobody else, and memory is bounded by the
// windows. What this version does not know, kinds included, is ignored and counted.
//
// The frames below TLS:
//
//	length of the rest    4 octets
//	type                  1 octet: hello, ping, message, credit, bye
//	length of the kind    1 octet
//	kind                  0 to 32 octets
//	payload               up to MaxPayload octets
//
// A hello is JSON and comes first; a later one tells what has changed. A ping says
// that somebody is there; after deadAfter of silence nobody is. A credit returns what
// a kind's reader has read. A bye says why the connection ends.
package peer
