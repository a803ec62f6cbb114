package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	cfipvs "github.com/cloudflare/ipvs"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// From include/uapi/linux/ip_vs.h, beside those in engine_linux.go.
const (
	cmdDelService = 3
	cmdNewDest    = 5
	cmdSetDest    = 6
	cmdDelDest    = 7

	cmdAttrDest = 2

	destAttrAddr    = 1
	destAttrPort    = 2
	destAttrForward = 3
	destAttrWeight  = 4
	destAttrUpper   = 5
	destAttrLower   = 6
	destAttrActive  = 7
	destAttrInact   = 8
	destAttrPersist = 9
	destAttrFamily  = 11
	destAttrStats64 = 12
	destAttrTunType = 13
	destAttrTunPort = 14
	destAttrTunFlag = 15
)

// batchSize is how many changes one message holds at most: their refusals, each of some
// 800 bytes with what the kernel counts for it, must find room in a socket's buffer.
const batchSize = 128

// batch is a socket for many changes at once. The kernel carries out all requests of one
// message before sendmsg returns, and answers only to those that it refuses and to the
// last, which alone asks for it. The netlink library asks and waits for each, and does
// not tell which of several was refused.
type batch struct {
	fd     int
	family uint16
	seq    uint32
	out    []byte
	in     []byte
}

func newBatch(family uint16) (*batch, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		// A refusal repeats the request otherwise.
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
		// The answer is there when sendmsg returns; a kernel that does not answer must not hang us.
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}),
	)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return &batch{fd: fd, family: family, in: make([]byte, 64<<10)}, nil
}

func (b *batch) close() error { return os.NewSyscallError("close", unix.Close(b.fd)) }

// doAll makes changes in their order and returns the error of each. It goes on after
// those that fail.
func (k *kernel) doAll(changes []Change) []error {
	errs := make([]error, len(changes))
	for from := 0; from < len(changes); {
		to := from
		for to < len(changes) && to-from < batchSize && batchable(&changes[to]) {
			to++
		}
		if to-from < 2 && changes[from].Op != MoveServer {
			errs[from] = changes[from].do(k)
			from++
			continue
		}
		err := k.batch.do(changes[from:to], errs[from:to])
		if err == nil {
			err = k.goneAll(errs[from:to])
		}
		if err != nil {
			for i := from; i < to; i++ {
				errs[i] = err
			}
		}
		from = to
	}
	return errs
}

// goneAll is gone for the errors of a batch: a family that is no more refuses all of it.
func (k *kernel) goneAll(errs []error) error {
	for _, err := range errs {
		if err == nil {
			return nil
		}
	}
	if err := k.gone(errs[0]); errors.Is(err, ErrGone) {
		return err
	}
	return nil
}

// batchable reports whether a change goes into a batch. Services with a persistence
// engine, and edits, are few and go one by one.
func batchable(c *Change) bool {
	return c.Op != SetService && (c.Op != AddService || c.Service.Engine == "")
}

// do sends changes in one message. The error is about all of them: what became of them
// is not known.
func (b *batch) do(changes []Change, errs []error) error {
	b.out = b.out[:0]
	first := b.seq + 1
	index := make([]int, 0, 2*len(changes)) // the change of each request
	for i := range changes {
		c := &changes[i]
		for _, cmd := range commands(c.Op) {
			b.request(cmd, c)
			index = append(index, i)
		}
	}
	last := b.seq
	// The last one acknowledges.
	b.out[b.lastRequest()+6] |= unix.NLM_F_ACK
	if err := unix.Sendto(b.fd, b.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("asking IPVS: %w", os.NewSyscallError("sendto", err))
	}
	for {
		n, _, err := unix.Recvfrom(b.fd, b.in, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("hearing what IPVS did: %w", os.NewSyscallError("recvfrom", err))
		}
		messages, err := syscall.ParseNetlinkMessage(b.in[:n])
		if err != nil {
			return fmt.Errorf("hearing what IPVS did: %w", err)
		}
		for _, m := range messages {
			seq := m.Header.Seq
			if m.Header.Type != unix.NLMSG_ERROR || len(m.Data) < 4 || seq-first > last-first {
				continue // of an earlier batch
			}
			if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
				if i := index[seq-first]; errs[i] == nil {
					errs[i] = syscall.Errno(-code)
				}
			}
			if seq == last {
				return nil
			}
		}
	}
}

// commands are those that make a change.
func commands(op Op) []uint8 {
	switch op {
	case AddService:
		return []uint8{cmdNewService}
	case RemoveService:
		return []uint8{cmdDelService}
	case AddServer:
		return []uint8{cmdNewDest}
	case SetServer:
		return []uint8{cmdSetDest}
	case RemoveServer:
		return []uint8{cmdDelDest}
	case MoveServer:
		return []uint8{cmdDelDest, cmdNewDest}
	default:
		panic("ipvs: change that is not made in a batch")
	}
}

// lastRequest is where the last request in out begins.
func (b *batch) lastRequest() (at int) {
	for next := 0; next < len(b.out); {
		at = next
		next += int(binary.NativeEndian.Uint32(b.out[at:]))
	}
	return at
}

// request appends a request. Its length is a multiple of four, as that of its attributes.
func (b *batch) request(cmd uint8, c *Change) {
	b.seq++
	start := len(b.out)
	b.out = binary.NativeEndian.AppendUint32(b.out, 0) // the length
	b.out = binary.NativeEndian.AppendUint16(b.out, b.family)
	b.out = binary.NativeEndian.AppendUint16(b.out, unix.NLM_F_REQUEST)
	b.out = binary.NativeEndian.AppendUint32(b.out, b.seq)
	b.out = binary.NativeEndian.AppendUint32(b.out, 0) // this socket
	b.out = append(b.out, cmd, genlVersion, 0, 0)
	nest := b.nest(cmdAttrService)
	b.service(serviceTo(c.Service), cmd == cmdNewService)
	b.end(nest)
	if cmd == cmdNewDest || cmd == cmdSetDest || cmd == cmdDelDest {
		nest := b.nest(cmdAttrDest)
		b.destination(destinationTo(c.Destination))
		b.end(nest)
	}
	binary.NativeEndian.PutUint32(b.out[start:], uint32(len(b.out)-start))
}

// service appends what names a service, and whole all of its settings.
func (b *batch) service(s cfipvs.Service, whole bool) {
	b.uint16(svcAttrFamily, addressFamily(s.Family))
	if s.FWMark != 0 {
		b.uint32(svcAttrMark, s.FWMark)
	} else {
		b.uint16(svcAttrProtocol, uint16(s.Protocol))
		b.bytes(svcAttrAddr, s.Address.AsSlice())
		b.bytes(svcAttrPort, binary.BigEndian.AppendUint16(nil, s.Port))
	}
	if !whole {
		return
	}
	b.bytes(svcAttrSched, append([]byte(s.Scheduler), 0))
	flags := binary.NativeEndian.AppendUint32(nil, uint32(s.Flags))
	b.bytes(svcAttrFlags, binary.NativeEndian.AppendUint32(flags, ^uint32(0)))
	b.uint32(svcAttrTimeout, s.Timeout)
	// A mask in network order for IPv4, a prefix length for IPv6.
	if s.Netmask.Is4() {
		b.bytes(svcAttrNetmask, s.Netmask.AsSlice())
	} else {
		b.uint32(svcAttrNetmask, uint32(max(s.Netmask.Bits(), 0)))
	}
}

func (b *batch) destination(d cfipvs.Destination) {
	b.bytes(destAttrAddr, d.Address.AsSlice())
	b.bytes(destAttrPort, binary.BigEndian.AppendUint16(nil, d.Port))
	b.uint32(destAttrForward, uint32(d.FwdMethod))
	b.uint32(destAttrWeight, d.Weight)
	b.uint32(destAttrUpper, d.UpperThreshold)
	b.uint32(destAttrLower, d.LowerThreshold)
	b.uint16(destAttrFamily, addressFamily(d.Family))
	b.bytes(destAttrTunType, []byte{byte(d.TunnelType)})
	b.bytes(destAttrTunPort, binary.BigEndian.AppendUint16(nil, d.TunnelPort))
	b.uint16(destAttrTunFlag, uint16(d.TunnelFlags))
}

func addressFamily(f cfipvs.AddressFamily) uint16 {
	if f == cfipvs.INET {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (b *batch) uint16(typ, v uint16) { b.bytes(typ, binary.NativeEndian.AppendUint16(nil, v)) }

func (b *batch) uint32(typ uint16, v uint32) {
	b.bytes(typ, binary.NativeEndian.AppendUint32(nil, v))
}

// bytes appends an attribute, padded to a multiple of four.
func (b *batch) bytes(typ uint16, v []byte) {
	b.out = binary.NativeEndian.AppendUint16(b.out, uint16(4+len(v)))
	b.out = binary.NativeEndian.AppendUint16(b.out, typ)
	b.out = append(b.out, v...)
	for len(b.out)%4 != 0 {
		b.out = append(b.out, 0)
	}
}

// nest begins an attribute that holds others, and returns where; end ends it.
func (b *batch) nest(typ uint16) int {
	start := len(b.out)
	b.out = binary.NativeEndian.AppendUint16(b.out, 0)
	b.out = binary.NativeEndian.AppendUint16(b.out, typ|netlink.Nested)
	return start
}

func (b *batch) end(start int) {
	binary.NativeEndian.PutUint16(b.out[start:], uint16(len(b.out)-start))
}
