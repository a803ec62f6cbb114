package connsync

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// The sync protocol, version 1: net/netfilter/ipvs/ip_vs_sync.c. All numbers are
// in network byte order.
const (
	headerSize   = 8
	recordSize4  = 36
	recordSize6  = 72
	maxRecords   = 255
	protoVersion = 1

	typeIPv6    = 1     // STYPE_F_INET6
	sizeMask    = 0xfff // SVER_MASK
	versionBits = 12

	optSeq        = 1 // IPVS_OPT_SEQ_DATA
	optEngineData = 2 // IPVS_OPT_PE_DATA
	optEngine     = 3 // IPVS_OPT_PE_NAME
	optIgnorable  = 0x40
	seqSize       = 24
	maxEngine     = 16
)

// Flags are those of a connection, IP_VS_CONN_F_* of include/uapi/linux/ip_vs.h, as
// far as a sync daemon takes them in (IP_VS_CONN_F_BACKUP_MASK).
type Flags uint32

// The flags. The forwarding method is the number in ForwardMask.
const (
	ForwardMask  Flags = 0x0007
	ForwardNAT   Flags = 0 // IP_VS_CONN_F_MASQ
	ForwardLocal Flags = 1
	ForwardTUN   Flags = 2
	ForwardDR    Flags = 3
	NoOutput     Flags = 0x0080
	Inactive     Flags = 0x0100
	SeqMask      Flags = 0x0600
	NoClientPort Flags = 0x0800
	Template     Flags = 0x1000
	onePacket    Flags = 0x2000
)

// Record is one connection or template in a sync message.
type Record struct {
	Key    ConnKey
	Server netip.AddrPort
	Flags  Flags
	// State is the kernel's number of the state.
	State uint16
	// Mark is the firewall mark of the service, zero for one by address.
	Mark uint32
	// Timeout is what the entry's timer is set to, in seconds. Zero lets the
	// receiver take its own timeout of the state.
	Timeout uint32
	// Options are what follows in the record, as it was read: sequence numbers that
	// FTP needs, and the data of a persistence engine.
	Options string
}

// Errors of Decode.
var (
	// ErrVersion0 is a message of a director with net.ipv4.vs.sync_version = 0, which
	// has neither IPv6 nor persistence timeouts.
	ErrVersion0 = errors.New("sync message of version 0: the other director's sysctl net.ipv4.vs.sync_version is 0, want 1")
	// errShort is a message that its records do not fit in, or that is not as long as
	// it says. The kernel drops it, from the record on that does not fit.
	errShort = errors.New("sync message is cut short")
)

// Message is one datagram of a sync daemon.
type Message struct {
	// ID is the sync group.
	ID uint8
	// Records are those that the kernel would take in, as far as that can be seen
	// from them.
	Records []Record
	// Skipped counts those that it would leave out alone.
	Skipped int
}

// Decode parses a datagram as strictly as the kernel does (ip_vs_process_message).
// An error says that the kernel would drop the rest of the datagram; what came
// before it is in the message.
func Decode(b []byte) (Message, error) {
	var m Message
	if len(b) < headerSize {
		return m, errShort
	}
	if int(binary.BigEndian.Uint16(b[2:])) != len(b) {
		return m, errShort
	}
	m.ID = b[1]
	if b[0] != 0 || b[5] != protoVersion || b[6] != 0 || b[7] != 0 {
		return m, ErrVersion0
	}
	count := int(b[4])
	m.Records = make([]Record, 0, count)
	at := headerSize
	for i := range count {
		if at+recordSize4 > len(b) {
			return m, errShort
		}
		size := recordSize4
		switch b[at] {
		case 0:
		case typeIPv6:
			if size = recordSize6; at+size > len(b) {
				return m, errShort
			}
		default:
			return m, fmt.Errorf("sync record %d of type %d, want 0 or 1", i+1, b[at])
		}
		versionSize := binary.BigEndian.Uint16(b[at+2:])
		length := int(versionSize & sizeMask)
		if length < size || at+length > len(b) {
			return m, errShort
		}
		if versionSize>>versionBits != 0 {
			return m, fmt.Errorf("sync record %d of version %d, want 0", i+1, versionSize>>versionBits)
		}
		r := decodeRecord(b[at:at+size], size)
		known, err := checkOptions(b[at+size : at+length])
		if err != nil {
			return m, fmt.Errorf("sync record %d: %w", i+1, err)
		}
		r.Options = string(b[at+size : at+length])
		if r.Key.Template {
			r.Key.Engine = engineKey(option(r.Options, optEngine), option(r.Options, optEngineData))
		}
		if known && r.valid() {
			m.Records = append(m.Records, r)
		} else {
			m.Skipped++
		}
		at += (length + 3) &^ 3
	}
	return m, nil
}

func decodeRecord(b []byte, size int) Record {
	addresses := b[24:size]
	third := len(addresses) / 3
	end := func(i int, port []byte) netip.AddrPort {
		a, _ := netip.AddrFromSlice(addresses[i*third : (i+1)*third])
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
	}
	r := Record{
		Key:    ConnKey{Protocol: b[1], Client: end(0, b[10:]), Virtual: end(1, b[12:])},
		Server: end(2, b[14:]),
		Flags:  Flags(binary.BigEndian.Uint32(b[4:])), State: binary.BigEndian.Uint16(b[8:]),
		Mark: binary.BigEndian.Uint32(b[16:]), Timeout: binary.BigEndian.Uint32(b[20:]),
	}
	r.Key.Template = r.Flags&Template != 0
	return r
}

// valid says whether the kernel takes the record in (ip_vs_proc_sync_conn).
func (r Record) valid() bool {
	switch {
	case r.Flags&onePacket != 0, r.Flags&NoClientPort != 0 && r.Key.Template:
		return false
	default:
		return int(r.State) < len(states(r.Key.Protocol, r.Key.Template))
	}
}

// checkOptions goes through the options of a record: whether the kernel takes
// them all in or ignores them, or an error that ends the datagram.
func checkOptions(b []byte) (known bool, err error) {
	known = true
	var seen uint8
	for len(b) > 0 {
		if len(b) < 2 || b[1] == 0 || len(b) < 2+int(b[1]) {
			return false, errors.New("an option is cut short")
		}
		kind, data := b[0], b[2:2+int(b[1])]
		b = b[2+len(data):]
		bad := false
		switch kind {
		case optSeq:
			bad = len(data) != seqSize
		case optEngineData:
		case optEngine:
			bad = len(data) > maxEngine
		default:
			// With this bit it may be left out; without it the record is.
			known = known && kind&optIgnorable != 0
			continue
		}
		if bad || seen&(1<<kind) != 0 {
			return false, fmt.Errorf("option %d is of a wrong length or there twice", kind)
		}
		seen |= 1 << kind
	}
	return known, nil
}

// option is the data of the first option of a kind, empty if there is none.
func option(options string, kind byte) string {
	for len(options) >= 2 && len(options) >= 2+int(options[1]) {
		data := options[2 : 2+int(options[1])]
		if options[0] == kind {
			return data
		}
		options = options[2+len(data):]
	}
	return ""
}

// size is the length of the record in a message, without padding.
func (r *Record) size() int {
	if r.Key.Client.Addr().Is4() {
		return recordSize4 + len(r.Options)
	}
	return recordSize6 + len(r.Options)
}

// appendRecord writes the record. Its addresses are all of one family.
func appendRecord(b []byte, r *Record) []byte {
	kind := byte(0)
	if !r.Key.Client.Addr().Is4() {
		kind = typeIPv6
	}
	flags := r.Flags &^ Template
	if r.Key.Template {
		flags |= Template
	}
	b = append(b, kind, r.Key.Protocol)
	b = binary.BigEndian.AppendUint16(b, uint16(r.size()))
	b = binary.BigEndian.AppendUint32(b, uint32(flags))
	b = binary.BigEndian.AppendUint16(b, r.State)
	b = binary.BigEndian.AppendUint16(b, r.Key.Client.Port())
	b = binary.BigEndian.AppendUint16(b, r.Key.Virtual.Port())
	b = binary.BigEndian.AppendUint16(b, r.Server.Port())
	b = binary.BigEndian.AppendUint32(b, r.Mark)
	b = binary.BigEndian.AppendUint32(b, r.Timeout)
	for _, a := range []netip.Addr{r.Key.Client.Addr(), r.Key.Virtual.Addr(), r.Server.Addr()} {
		b = append(b, a.AsSlice()...)
	}
	return append(b, r.Options...)
}

// AppendMessage appends a datagram with as many of the records as fit into limit
// octets, at least one and at most 255, and returns those that are left. It does
// nothing without records.
func AppendMessage(b []byte, id uint8, limit int, records []Record) (out []byte, left []Record) {
	if len(records) == 0 {
		return b, nil
	}
	start := len(b)
	b = append(b, 0, id, 0, 0, 0, protoVersion, 0, 0)
	n := 0
	for n < len(records) && n < maxRecords {
		pad := (start - len(b)) & 3
		if n > 0 && len(b)-start+pad+records[n].size() > limit {
			break
		}
		b = append(b, make([]byte, pad)...)
		b = appendRecord(b, &records[n])
		n++
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start))
	b[start+4] = byte(n)
	return b, records[n:]
}

// same says whether two records are the same but for what passes with time or is
// not to be compared.
func (r *Record) same(o *Record) bool {
	return r.Key == o.Key && r.Server == o.Server && r.State == o.State
}

// becomes is the record of an entry that passes, as the kernel lists it: with its state and
// what it has left, not as one to be removed at once. The client may have used the port
// again since, or be about to, and then it is another connection by the same name that would
// be removed.
func (r Record) becomes(c *Conn) Record {
	r.Server, r.State, r.Timeout = c.Server, c.State, max(c.Expires, goneTimeout+1)
	r.Flags &^= Inactive
	if r.Key.inactive(r.State) {
		r.Flags |= Inactive
	}
	return r
}

// goneTimeout is the timeout, in seconds, of what is to end at once.
const goneTimeout = 1

// gone is the record that takes the entry out of a kernel's table, for which its service
// need not be known.
func (c *Conn) gone() Record {
	r := Record{Key: c.Key, Server: c.Server, State: c.State, Options: c.engineOptions()}
	switch {
	case c.Key.Template:
		r.Flags = Template
	case c.Key.Client.Port() == 0:
		r.Flags = NoClientPort
	}
	return r.gone()
}

// gone is the record that takes the entry out of a kernel's table: closed and
// about to end. The data of a persistence engine says which template it is.
func (r Record) gone() Record {
	r.Timeout = goneTimeout
	if r.Key.Engine == "" {
		r.Options = ""
	} else {
		r.takeLeft()
	}
	r.Flags = r.Flags&^SeqMask | Inactive
	switch {
	case r.Key.Template:
		r.State = 0
	case r.Key.Protocol == protocolTCP:
		r.State = tcpClose
	case r.Key.Protocol == protocolSCTP:
		r.State = sctpClosed
	}
	return r
}
