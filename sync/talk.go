package connsync

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"time"
)

// What directors say to each other, by the first octet of a message. The rest is
// JSON, but for records, which are sync messages as the kernel has them, one after
// the other.
const (
	// sayReport is how a director stands; the newest counts.
	sayReport = 'R'
	// sayPull asks for the whole table.
	sayPull = 'P'
	// sayBegin, sayRecords and sayEnd answer it. Records have the number of the pull, in
	// 4 octets, and a digest of what follows, in 8.
	sayBegin   = 'B'
	sayRecords = 'F'
	sayEnd     = 'E'
	// sayWorking says that the giver is still reading its table.
	sayWorking = 'W'
	// sayDone says what became of a pull.
	sayDone = 'D'
	// sayLive are records as the kernel sends them.
	sayLive = 'L'
	// sayGap says that some of those were lost.
	sayGap = 'G'
	// sayCounters are the kernel's counters of what a director serves.
	sayCounters = 'C'
	// sayLeaving asks for a last pull before a director gives way.
	sayLeaving = 'H'
)

// report is how a director stands.
type report struct {
	// Epoch is a number that each process draws.
	Epoch uint64 `json:"epoch"`
	// Conns counts what the kernel's services have, templates included.
	Conns int `json:"conns"`
	// Waiting says that this director waits for a table itself.
	Waiting bool `json:"waiting,omitempty"`
	// Serves counts the virtual addresses that are here.
	Serves int `json:"serves,omitempty"`
	// At are those addresses, none if they are too many to tell.
	At []netip.Addr `json:"at,omitempty"`
	// Turns counts how often addresses came here.
	Turns int `json:"turns"`
	// Pool is Pool.Hash.
	Pool uint64 `json:"pool"`
	// Transport is how live records come from here.
	Transport Transport `json:"transport"`
	// Problem is why no table is given or taken, and Unready says that none can be
	// yet.
	Problem string `json:"problem,omitempty"`
	Unready bool   `json:"unready,omitempty"`
}

// maxServes is how many addresses are told at most.
const maxServes = 4000

type pullMessage struct {
	ID  uint32 `json:"id"`
	Why string `json:"why"`
	// Token is that of the leavingMessage it answers.
	Token uint64 `json:"token,omitempty"`
}

type beginMessage struct {
	ID    uint32 `json:"id"`
	Total int    `json:"total"`
	// Serves are the virtual addresses that the giver serves; none if they are too many
	// to tell.
	Serves []netip.Addr `json:"serves,omitempty"`
	// Complete are those of which all that the receiver has was there once since they are
	// there, so that what is not in the table is over.
	Complete []netip.Addr `json:"complete,omitempty"`
}

type workingMessage struct {
	ID uint32 `json:"id"`
}

type endMessage struct {
	ID uint32 `json:"id"`
	// Total counts the records that were sent.
	Total int `json:"total"`
	// Unknown counts entries that the giver has and does not send, because it does not
	// know their service, and so neither the mark nor the forwarding method.
	Unknown int `json:"unknown,omitempty"`
	// Problem is why the giver has stopped before the end.
	Problem string `json:"problem,omitempty"`
}

type doneMessage struct {
	ID     uint32 `json:"id"`
	Token  uint64 `json:"token,omitempty"`
	Result Result `json:"result"`
}

type leavingMessage struct {
	Token uint64 `json:"token"`
}

type counterRow struct {
	Service string         `json:"service"`
	Server  netip.AddrPort `json:"server"`
	Active  int            `json:"active"`
	// Templates are the persistence templates.
	Templates int `json:"templates"`
}

type countersMessage struct {
	Rows []counterRow `json:"rows"`
}

// Result is what became of taking another director's table over.
type Result struct {
	Peer string `json:"peer"`
	Why  string `json:"why"`
	// Records were sent, Installed given to the kernel; the others are of addresses
	// that are served here.
	Records   int `json:"records"`
	Installed int `json:"installed"`
	// Missing are entries that the other director has and this kernel has not in the
	// end, Extra those that this one has and the other has not, Wrong those on
	// another server, and Unbound those whose server is not in this director's
	// services. Removed are extras that two looks in a row have found.
	Missing int `json:"missing"`
	Extra   int `json:"extra"`
	Wrong   int `json:"wrong"`
	Unbound int `json:"unbound"`
	Removed int `json:"removed"`
	// Unknown are entries that the other director has and did not hand over, because it
	// does not know which service they belong to.
	Unknown int `json:"unknown,omitempty"`
	// Offered are the extras that the other director may never have had: they are not over
	// for all that is known, and it may take them over.
	Offered int `json:"offered,omitempty"`
	// serves are the addresses that the other director served when it told its table.
	serves []netip.Addr
	// Compared says what that is from: "entries", each, or "counters", per server.
	Compared string `json:"compared,omitempty"`
	// Repeated counts datagrams that the kernel's socket dropped and that were put
	// in again.
	Repeated int `json:"repeated"`
	// Problem is why it did not end well.
	Problem string `json:"problem,omitempty"`
	// Began, and the time that its parts took: until the first record, until the
	// last one was in the kernel, and the comparison.
	Began   time.Time     `json:"began"`
	Waiting time.Duration `json:"waiting_ns"`
	Taking  time.Duration `json:"taking_ns"`
	Looking time.Duration `json:"looking_ns"`
}

// String is one line for people.
func (r Result) String() string {
	if r.Problem != "" {
		return fmt.Sprintf("%d entries taken from %s (%s), then: %s", r.Installed, r.Peer, r.Why, r.Problem)
	}
	s := fmt.Sprintf("%d entries taken from %s in %s (%s)", r.Installed, r.Peer, (r.Waiting + r.Taking + r.Looking).Round(time.Millisecond), r.Why)
	for _, part := range []struct {
		n    int
		what string
	}{
		{r.Missing, "missing"}, {r.Extra, "that only this director has"}, {r.Wrong, "on another server"},
		{r.Unbound, "without a server in the services here"}, {r.Removed, "removed that were over"},
		{r.Unknown, "not handed over because their service is not known there"},
	} {
		if part.n > 0 {
			s += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	return s
}

// say encodes a message.
func say(kind byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("connsync: " + err.Error()) // plain structs
	}
	return append([]byte{kind}, b...)
}

// hear decodes the JSON of a message.
func hear[T any](payload []byte) (v T, err error) {
	if err := json.Unmarshal(payload[1:], &v); err != nil {
		return v, fmt.Errorf("message %q: %w", payload[0], err)
	}
	return v, nil
}

// payloadLimit is how many octets of records go into one message.
const payloadLimit = 32 << 10

// recordsHead is the length of what is before the records of a message.
const recordsHead = 1 + 4 + 8

// sayRecordsOf begins a message with as many records as fit, and returns the rest.
func sayRecordsOf(id uint32, records []Record) (payload []byte, left []Record) {
	payload = binary.BigEndian.AppendUint32([]byte{sayRecords}, id)
	payload = binary.BigEndian.AppendUint64(payload, 0)
	for len(records) > 0 && len(payload) < payloadLimit {
		payload, records = AppendMessage(payload, 0, datagramLimit, records)
	}
	binary.BigEndian.PutUint64(payload[recordsHead-8:], digest(payload[recordsHead:]))
	return payload, records
}

// digest is a number that another message hardly has.
func digest(payload []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(payload)
	return h.Sum64()
}

// eachMessage calls f with each sync message in a row of them.
func eachMessage(b []byte, f func(Message) error) error {
	for len(b) > 0 {
		if len(b) < headerSize {
			return errShort
		}
		size := int(binary.BigEndian.Uint16(b[2:]))
		if size < headerSize || size > len(b) {
			return errShort
		}
		m, err := Decode(b[:size])
		if err != nil {
			return err
		}
		if err := f(m); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// recordsIn are the records of a message that says which pull they are of.
func recordsIn(payload []byte) (id uint32, records []Record, err error) {
	if len(payload) < recordsHead {
		return 0, nil, errors.New("records without a pull")
	}
	id = binary.BigEndian.Uint32(payload[1:])
	body := payload[recordsHead:]
	if binary.BigEndian.Uint64(payload[recordsHead-8:]) != digest(body) {
		return 0, nil, errors.New("records are not those that were sent")
	}
	err = eachMessage(body, func(m Message) error {
		records = append(records, m.Records...)
		return nil
	})
	return id, records, err
}

// Transport is how the kernel's own sync messages travel.
type Transport string

// The transports.
const (
	// Multicast is the kernel's: from daemon to daemon on the interface, in clear, to
	// and from anybody.
	Multicast Transport = "multicast"
	// Channel has the daemons on the loopback interface, and the directors' channel
	// between them.
	Channel Transport = "channel"
)
