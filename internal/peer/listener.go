package peer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	// relisten is how often an address that could not be bound is tried again.
	relisten = time.Second
	// maxShaking bounds the connections of one origin that have not proved who they
	// are.
	maxShaking = 4
	// shakeAtLeast is how long one of them has until it makes room for another: a
	// handshake takes milliseconds.
	shakeAtLeast = time.Second
	// privileged is the first port that every user of a machine may connect from.
	privileged = 1024
	// warnEvery is how often strangers are worth a line.
	warnEvery = time.Minute
)

// Refusal is why a connection was closed before there was a session.
type Refusal string

// The refusals.
const (
	// RefusedStranger came from an address that is no director's.
	RefusedStranger Refusal = "stranger"
	// RefusedNoKey came from a director that has no key in the file.
	RefusedNoKey Refusal = "no_key"
	// RefusedTooMany were too many at once from one address.
	RefusedTooMany Refusal = "too_many"
	// RefusedHandshake did not prove to be who they should be.
	RefusedHandshake Refusal = "handshake"
)

// origin is where connections come from. Anybody on a director's machine has its
// address, and could keep the director itself out; a port below 1024 has only who is
// allowed to (see Network.Dial).
type origin struct {
	address    netip.Addr
	privileged bool
}

func originOf(from netip.AddrPort) origin {
	return origin{from.Addr(), from.Port() > 0 && from.Port() < privileged}
}

// shaking is a connection that has not proved who it is.
type shaking struct {
	raw   *lively
	since time.Time
}

// listener is an address of our own where others connect.
type listener struct {
	cancel context.CancelFunc
	ended  chan struct{}
	// problem is why it does not listen; guarded by Channel.mu.
	problem string
}

// listen makes the listeners those of the configuration. The caller holds mu.
func (c *Channel) listen(ctx context.Context) {
	wanted := make(map[netip.AddrPort]bool)
	if !c.pin.IsZero() && slices.ContainsFunc(c.cfg.Peers, func(p Peer) bool { return !p.Pin.IsZero() && p.Name != c.cfg.Name }) {
		for _, a := range c.cfg.Addresses {
			wanted[netip.AddrPortFrom(a, c.cfg.Port)] = true
		}
	}
	for at, l := range c.listeners {
		if !wanted[at] {
			l.cancel()
			delete(c.listeners, at)
		}
	}
	for at := range wanted {
		if c.listeners[at] != nil {
			continue
		}
		l := &listener{ended: make(chan struct{}), problem: "not listening yet"}
		below, cancel := context.WithCancel(ctx)
		l.cancel = cancel
		c.listeners[at] = l
		c.all.Go(func() { c.accept(ctx, below, at, l) })
	}
}

// accept takes connections of an address, and binds it as often as it takes, until
// ctx ends. What has been accepted goes on until all does.
func (c *Channel) accept(all, ctx context.Context, at netip.AddrPort, l *listener) {
	defer close(l.ended)
	problem := func(text string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if l.problem != text && text != "" {
			c.log.Warn("the channel does not listen", "address", at, "error", text)
		}
		l.problem = text
	}
	for ctx.Err() == nil {
		bound, err := c.opt.Network.Listen(ctx, at)
		if err == nil {
			problem("")
			err = c.serve(all, ctx, bound)
		}
		if err != nil && ctx.Err() == nil {
			problem(reason(err))
		}
		timer := time.NewTimer(relisten)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// serve takes connections until accepting fails or ctx ends.
func (c *Channel) serve(all, ctx context.Context, bound net.Listener) error {
	stop := context.AfterFunc(ctx, func() { bound.Close() })
	defer stop()
	defer bound.Close()
	for {
		conn, err := bound.Accept()
		if err != nil {
			return err
		}
		from, raw := address(conn), &lively{Conn: conn}
		if why, text := c.admit(from, raw, time.Now()); why != "" {
			conn.Close()
			c.refuse(why, text)
			continue
		}
		// A session outlives the listener: a change of our port is no reason to end it.
		c.all.Go(func() { c.incoming(all, raw, from) })
	}
}

// admit says why a connection is not worth a handshake, or notes it.
func (c *Channel) admit(at netip.AddrPort, raw *lively, now time.Time) (why Refusal, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, keyed, from := "", false, at.Addr()
	for _, l := range c.links {
		if slices.Contains(l.peer.Addresses, from) {
			known, keyed = l.peer.Name, !l.peer.Pin.IsZero()
		}
	}
	switch {
	case known == "":
		return RefusedStranger, fmt.Sprintf("%s is no director's address", from)
	case !keyed:
		return RefusedNoKey, fmt.Sprintf("%s (%s) has no key in the file", known, from)
	}
	origin := originOf(at)
	others := c.shaking[origin]
	if len(others) >= maxShaking {
		if now.Sub(others[0].since) < shakeAtLeast {
			return RefusedTooMany, fmt.Sprintf("%s (%s) opens many connections and proves nothing", known, from)
		}
		// Its handshake fails by that, and takes it off the list.
		others[0].raw.Close()
		others = others[1:]
	}
	c.shaking[origin] = append(slices.Clip(others), shaking{raw, now})
	return "", ""
}

// shaken takes a connection off those that have not proved who they are.
func (c *Channel) shaken(at netip.AddrPort, raw *lively) {
	c.mu.Lock()
	defer c.mu.Unlock()
	origin := originOf(at)
	left := slices.DeleteFunc(slices.Clone(c.shaking[origin]), func(s shaking) bool { return s.raw == raw })
	if len(left) == 0 {
		delete(c.shaking, origin)
		return
	}
	c.shaking[origin] = left
}

// incoming turns a connection that came in into a session.
func (c *Channel) incoming(ctx context.Context, raw *lively, from netip.AddrPort) {
	defer raw.Close()
	l, s, err := c.handshake(ctx, raw, nil)
	c.shaken(from, raw)
	if err != nil {
		text, _ := said(err)
		c.refuse(RefusedHandshake, fmt.Sprintf("%s: %s", from.Addr(), text))
		if l := c.at(from.Addr()); l != nil {
			c.failed(l, from.Addr(), err)
		}
		return
	}
	c.hold(l, s)
}

// at is the link of an address.
func (c *Channel) at(from netip.Addr) *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.links {
		if slices.Contains(l.peer.Addresses, from) {
			return l
		}
	}
	return nil
}

// refuse counts, and says so now and then.
func (c *Channel) refuse(why Refusal, text string) {
	now := time.Now()
	c.mu.Lock()
	c.refused[why]++
	warn := c.warned.IsZero() || now.Sub(c.warned) >= warnEvery
	if warn {
		c.warned = now
	}
	c.mu.Unlock()
	if warn {
		c.log.Warn("a connection to the channel was refused", "reason", text)
	}
}
