package connsync

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Intake is the kernel's backup daemon of this machine, as one that takes sync
// messages in. One goroutine at a time uses it.
type Intake interface {
	// Put hands a datagram to the daemon and to nobody else.
	Put(datagram []byte) error
	// Backlog returns the memory that waits in the daemon's socket, in octets, and
	// how many datagrams that socket has dropped since it was opened. The error is
	// errNoDaemon where no backup daemon listens.
	Backlog() (waiting int, dropped uint64, err error)
	Close() error
}

var errNoDaemon = errors.New("no backup daemon listens for sync messages")

// IntakeMark is the firewall mark of what is put in for the backup daemon, so that a
// packet filter can tell it from what comes in from outside.
const IntakeMark = 0x4c530001 // "LS"

const (
	// datagramLimit is the length of the datagrams that are put in. A backup daemon
	// drops longer ones than its sync_maxlen without a word; that is 1024 at least
	// and by default what fits the interface.
	datagramLimit = 1024
	// highWater is how much memory may wait in the daemon's socket: less than a
	// third of the kernel's default for one.
	highWater = 64 << 10
	// batchLimit is how many datagrams are put in before the backlog is looked at.
	batchLimit = 16
	// stallTimeout is how long the daemon may take nothing at all.
	stallTimeout = 5 * time.Second
)

// installer puts records into the kernel at the kernel's pace: it has no other way
// to refuse than to drop. The backlog of the daemon's own socket is the pace, and
// its end is the proof that everything was read.
type installer struct {
	intake Intake
	id     uint8
	batch  int // datagrams at a time; less after a drop
	// pause waits a moment for the daemon.
	pause func(context.Context, time.Duration) error
	// dropped is the socket's count as last read, and lost how many datagrams were
	// put in again because of a drop.
	dropped uint64
	lost    int
	buffer  []byte
}

func newInstaller(in Intake, id uint8) *installer {
	return &installer{intake: in, id: id, batch: batchLimit, pause: pause}
}

// install puts the records in and waits until the daemon has read all of them.
func (in *installer) install(ctx context.Context, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	_, dropped, err := in.intake.Backlog()
	if err != nil {
		return err
	}
	in.dropped = dropped
	for {
		again, err := in.round(ctx, records)
		if err != nil {
			return err
		}
		if !again {
			return nil
		}
	}
}

// round puts all records in once. A drop that shows only at the end is anybody's,
// so that everything has to be put in again: records may be repeated.
func (in *installer) round(ctx context.Context, records []Record) (again bool, err error) {
	for len(records) > 0 {
		left, dropped, err := in.some(records)
		if err != nil {
			return false, err
		}
		if dropped {
			if err := in.settle(ctx, 0); err != nil {
				return false, err
			}
			continue
		}
		records = left
		if err := in.settle(ctx, highWater); err != nil {
			return false, err
		}
	}
	before := in.dropped
	if err := in.settle(ctx, 0); err != nil {
		return false, err
	}
	return in.dropped != before && in.slower(), nil
}

// some puts one batch in and says whether the socket has dropped any of it.
func (in *installer) some(records []Record) (left []Record, dropped bool, err error) {
	left = records
	for range in.batch {
		if len(left) == 0 {
			break
		}
		in.buffer, left = AppendMessage(in.buffer[:0], in.id, datagramLimit, left)
		if err := in.intake.Put(in.buffer); err != nil {
			return nil, false, fmt.Errorf("handing sync records to the kernel: %w", err)
		}
	}
	_, count, err := in.intake.Backlog()
	if err != nil {
		return nil, false, err
	}
	if count != in.dropped {
		in.lost += int(count - in.dropped)
		in.dropped = count
		in.slower()
		return nil, true, nil
	}
	return left, false, nil
}

func (in *installer) slower() bool {
	in.batch = max(1, in.batch/2)
	return true
}

// settle waits until no more than limit waits in the daemon's socket.
func (in *installer) settle(ctx context.Context, limit int) error {
	wait, idle, last := 100*time.Microsecond, time.Duration(0), -1
	for {
		waiting, dropped, err := in.intake.Backlog()
		if err != nil {
			return err
		}
		if waiting <= limit {
			if dropped != in.dropped {
				in.lost += int(dropped - in.dropped)
				in.dropped = dropped
			}
			return nil
		}
		if waiting != last {
			idle, last = 0, waiting
		}
		if idle >= stallTimeout {
			return fmt.Errorf("the kernel's backup daemon has read nothing for %s, with %d octets waiting", stallTimeout, waiting)
		}
		if err := in.pause(ctx, wait); err != nil {
			return err
		}
		idle += wait
		wait = min(2*wait, 5*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// parseBacklog finds the sockets bound to a group and port in the text of
// /proc/net/udp or udp6 (udp4_seq_show, udp6_seq_show), but for those with the
// inodes in own.
func parseBacklog(r io.Reader, group netip.AddrPort, own []uint64) (waiting int, dropped uint64, err error) {
	local := procAddr(group)
	s := bufio.NewScanner(r)
	found := false
	for s.Scan() {
		f := bytes.Fields(s.Bytes())
		// sl local remote st tx:rx tr:when retrnsmt uid timeout inode ref pointer drops
		if len(f) < 13 || string(f[1]) != local {
			continue
		}
		inode, err := strconv.ParseUint(string(f[9]), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("inode %q of a socket is no number", f[9])
		}
		if slices.Contains(own, inode) {
			continue
		}
		_, rx, _ := bytes.Cut(f[4], []byte(":"))
		n, err := strconv.ParseUint(string(rx), 16, 32)
		if err != nil {
			return 0, 0, fmt.Errorf("queue %q of a socket is no number", f[4])
		}
		d, err := strconv.ParseUint(string(f[12]), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("count %q of a socket's drops is no number", f[12])
		}
		found = true
		waiting += int(n)
		dropped += d
	}
	if err := s.Err(); err != nil {
		return 0, 0, fmt.Errorf("reading the list of sockets: %w", err)
	}
	if !found {
		return 0, 0, errNoDaemon
	}
	return waiting, dropped, nil
}

// procAddr is an address as /proc/net/udp has it on a little-endian machine: words
// of four octets, each the wrong way round, and the port.
func procAddr(a netip.AddrPort) string {
	b := a.Addr().AsSlice()
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	return fmt.Sprintf("%s:%04X", bytes.ToUpper([]byte(hex.EncodeToString(b))), a.Port())
}
