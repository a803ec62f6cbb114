package netif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"lvsha/internal/nlconn"
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
	// doubtFor is until the next look when something could not be found out.
	doubtFor = 100 * time.Millisecond
	// restFor is how many times as long as a look the rest after it is.
	restFor = 3
	// watchBuffer is how many octets of messages may wait: some 1,300.
	watchBuffer = 1 << 20
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
	// What comes while the kernel is looked at.
	if err := conn.SetReadBuffer(watchBuffer); err != nil {
		return fmt.Errorf("setting the buffer of rtnetlink: %w", err)
	}
	// A connection of its own: a long list must not hold up a takeover.
	lister, err := dialKernel()
	if err != nil {
		return err
	}
	defer lister.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var links []vrrp.Link
	for {
		began := time.Now()
		now, err := list(lister.Glance)
		if err != nil && !errors.Is(err, nlconn.ErrInterrupted) {
			return err
		}
		var doubt bool
		if links, doubt, err = confirm(lister, links, now); err != nil {
			return err
		}
		l.learn(links)
		update(links)
		if err := pause(ctx, conn, time.Since(began), doubt); err != nil {
			return err
		}
	}
}

// pause waits until it is time to look again, after a look that took so long: a
// millisecond after a message, or later while more come. Looks that take long, because
// there are thousands of addresses, must not take the processor from those who have
// something to do; but an interface that goes down is looked at soon.
func pause(ctx context.Context, conn *netlink.Conn, took time.Duration, doubt bool) error {
	ended := time.Now()
	wait := resyncEvery
	if doubt {
		wait = doubtFor
	}
	got, err := receive(ctx, conn, wait)
	if err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < settleMost; {
		more, err := receive(ctx, conn, settleFor)
		if err != nil {
			return err
		}
		got |= more
		if more == nothing {
			break
		}
	}
	for got&aboutLinks == 0 {
		rest := time.Until(ended.Add(restFor * took))
		if rest <= 0 {
			break
		}
		more, err := receive(ctx, conn, rest)
		if err != nil {
			return err
		}
		got |= more
	}
	return nil
}

// news is what messages were about.
type news uint8

const (
	nothing news = 0
	// aboutLinks says that an interface may have changed, and aboutOthers that
	// something else has.
	aboutLinks  news = 1
	aboutOthers news = 2
)

// receive waits for messages, which it throws away, and says what they were about.
// When some were lost they may have been about anything.
func receive(ctx context.Context, conn *netlink.Conn, wait time.Duration) (news, error) {
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nothing, fmt.Errorf("setting the deadline of rtnetlink: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nothing, err
	}
	messages, err := conn.Receive()
	switch {
	case ctx.Err() != nil:
		return nothing, ctx.Err()
	case errors.Is(err, unix.ENOBUFS):
		return aboutLinks, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nothing, nil
	case err != nil:
		return nothing, fmt.Errorf("receiving from rtnetlink: %w", err)
	}
	got := aboutOthers
	for _, m := range messages {
		if m.Header.Type == unix.RTM_NEWLINK || m.Header.Type == unix.RTM_DELLINK {
			got |= aboutLinks
		}
	}
	return got, nil
}
