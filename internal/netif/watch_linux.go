package netif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// The pace of Watch.
const (
	// resyncEvery is how often the kernel is looked at without a message, in
	// case one was lost.
	resyncEvery = 30 * time.Second
	// settleFor collects messages that come together, such as those of an
	// interface that goes down with its addresses.
	settleFor = time.Millisecond
	// settleMost bounds it, however many come.
	settleMost = 10 * time.Millisecond
	// redialFirst and redialMost bound the wait after an error.
	redialFirst = 100 * time.Millisecond
	redialMost  = 10 * time.Second
)

// groups are the multicast groups of links, addresses, routes and rules.
const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
	unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE | unix.RTMGRP_IPV4_RULE | 1<<(unix.RTNLGRP_IPV6_RULE-1)

// ours has the kernel keep to itself what it tells of routes and rules, unless
// one was removed that could be ours: a router that speaks BGP has thousands of
// changes in a second.
func ours() ([]bpf.RawInstruction, error) {
	// Of struct nlmsghdr and struct rtmsg. BPF reads the type as if it were in
	// the octet order of networks.
	const typeAt, protocolAt = 4, unix.SizeofNlMsghdr + 5
	kind := func(t uint16) uint32 {
		return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, t)))
	}
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: typeAt, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: kind(unix.RTM_NEWROUTE), SkipTrue: 5},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: kind(unix.RTM_NEWRULE), SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: kind(unix.RTM_DELROUTE), SkipTrue: 2},
		bpf.LoadAbsolute{Off: protocolAt, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocol, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 18},
		bpf.RetConstant{Val: 0},
	})
}

// Watch implements vrrp.Links. It returns nil when ctx ends. What it passes on
// is always what the kernel has now: messages only say that it is time to look.
func (l *Links) Watch(ctx context.Context, update func([]vrrp.Link)) error {
	wait := redialFirst
	for {
		began := time.Now()
		err := l.watch(ctx, update)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > redialMost {
			wait = redialFirst
		}
		l.log.Warn("watching interfaces", "error", err, "retry", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, redialMost)
	}
}

// watch is Watch until the first error.
func (l *Links) watch(ctx context.Context, update func([]vrrp.Link)) error {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: groups})
	if err != nil {
		return fmt.Errorf("subscribing to rtnetlink: %w", err)
	}
	defer conn.Close()
	filter, err := ours()
	if err == nil {
		err = conn.SetBPF(filter)
	}
	if err != nil {
		return fmt.Errorf("setting the filter of rtnetlink: %w", err)
	}
	// A connection of its own: a long list must not hold up a takeover.
	lister, err := rtnetlink.Dial(nil)
	if err != nil {
		return fmt.Errorf("connecting to rtnetlink: %w", err)
	}
	defer lister.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		links, err := list(lister)
		if err != nil {
			return err
		}
		l.learn(links)
		update(links)
		if _, err := receive(ctx, conn, resyncEvery); err != nil {
			return err
		}
		for began := time.Now(); time.Since(began) < settleMost; {
			more, err := receive(ctx, conn, settleFor)
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
}

// receive waits for messages, which it throws away, and says whether there were
// any. A lost message is as good a reason to look as one that arrived.
func receive(ctx context.Context, conn *netlink.Conn, wait time.Duration) (bool, error) {
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return false, fmt.Errorf("setting the deadline of rtnetlink: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	_, err := conn.Receive()
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err == nil, errors.Is(err, unix.ENOBUFS):
		return true, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	default:
		return false, fmt.Errorf("receiving from rtnetlink: %w", err)
	}
}
