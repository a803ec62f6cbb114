package rig

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/genetlink"
	"golang.org/x/sys/unix"

	"lvsha/internal/lab"
)

func netInterface(name string) (int, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	return ifi.Index, nil
}

// ipvsFamily is the number of IPVS in generic netlink.
func ipvsFamily(r *Rig, h *lab.Host) (id uint16) {
	r.Helper()
	r.Check(h.Do(func() error {
		c, err := genetlink.Dial(nil)
		if err != nil {
			return err
		}
		defer c.Close()
		f, err := c.GetFamily("IPVS")
		id = f.ID
		return err
	}))
	return id
}

// Wiretap hears what the programs of one host ask of the kernel's IPVS.
type Wiretap struct {
	fd   int
	stop atomic.Bool
	done sync.WaitGroup

	mu       sync.Mutex // guards what follows
	family   uint16     // of IPVS in generic netlink; 0 is not known yet
	changes  int
	all      int
	lastSeen time.Duration // of a change, on the monotonic clock
}

// StartWiretap makes an interface that netlink messages are copied to.
func StartWiretap(r *Rig, h *lab.Host) *Wiretap {
	r.Helper()
	_, err := h.Run("ip", "link", "add", "nlmon0", "type", "nlmon")
	r.Check(err)
	_, err = h.Run("ip", "link", "set", "nlmon0", "up")
	r.Check(err)
	w := &Wiretap{}
	r.Check(h.Do(func() error {
		var err error
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		ifi, err := netInterface("nlmon0")
		if err != nil {
			return err
		}
		const all = 0x0300 // ETH_P_ALL in network order
		// Requests only: ldb [6], the low byte of the flags; jset #NLM_F_REQUEST, 0, 1.
		filter := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 6},
			{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jf: 1, K: unix.NLM_F_REQUEST},
			{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
			{Code: unix.BPF_RET | unix.BPF_K},
		}
		return errors.Join(
			unix.SetsockoptSockFprog(w.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
			unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
			unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}),
			unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi}))
	}))
	w.family = ipvsFamily(r, h)
	w.done.Go(w.listen)
	return w
}

func (w *Wiretap) listen() {
	b := make([]byte, 256<<10)
	for !w.stop.Load() {
		n, from, err := unix.Recvfrom(w.fd, b, 0)
		if err != nil || n < 20 {
			continue
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Protocol != 0x1000 { // NETLINK_GENERIC in network order
			continue
		}
		w.mu.Lock()
		for rest := b[:n]; len(rest) >= 20; {
			if binary.NativeEndian.Uint16(rest[4:]) == w.family {
				w.all++
				switch rest[16] { // the command
				case 1, 2, 3, 5, 6, 7, 16, 17: // of services and servers, zero and flush
					w.changes++
					w.lastSeen = Monotonic()
				}
			}
			length := (int(binary.NativeEndian.Uint32(rest)) + 3) &^ 3
			if length < 16 || length > len(rest) {
				break
			}
			rest = rest[length:]
		}
		w.mu.Unlock()
	}
}

// Seen is how many messages there were, how many of them to change something, and
// when the last of those was.
func (w *Wiretap) Seen() (all, changes int, last time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all, w.changes, w.lastSeen
}

// Close ends the tap; what it has seen stays.
func (w *Wiretap) Close() {
	w.stop.Store(true)
	w.done.Wait()
	unix.Close(w.fd)
}
