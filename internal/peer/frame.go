package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// MaxPayload bounds the payload of a message, in octets. A message that is on its
	// way holds up all others, so writers of much do well with a quarter of it.
	MaxPayload = 256 << 10
	// MaxKindName bounds the name of a kind, in octets.
	MaxKindName = 32
	// maxHello bounds a frame before anything is known of the peer.
	maxHello = 16 << 10

	frameHead = 2 // type and length of the kind
	maxFrame  = frameHead + MaxKindName + MaxPayload
)

// frameType is what a frame is for.
type frameType byte

const (
	_ frameType = iota
	frameHello
	framePing
	frameMessage
	frameCredit
	frameBye
)

// frame is what travels.
type frame struct {
	typ     frameType
	kind    string
	payload []byte
}

var (
	errTooLong  = errors.New("a frame is longer than it may be")
	errTooShort = errors.New("a frame is shorter than what it must have")
)

// appendFrame appends a frame with its length in front.
func appendFrame(b []byte, f frame) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(frameHead+len(f.kind)+len(f.payload)))
	b = append(b, byte(f.typ), byte(len(f.kind)))
	b = append(b, f.kind...)
	return append(b, f.payload...)
}

// parseFrame reads what stands behind the length. The payload is part of b.
func parseFrame(b []byte) (frame, error) {
	if len(b) < frameHead || len(b) < frameHead+int(b[1]) {
		return frame{}, errTooShort
	}
	n := int(b[1])
	if n > MaxKindName {
		return frame{}, fmt.Errorf("the name of a kind has %d octets, more than %d", n, MaxKindName)
	}
	f := frame{typ: frameType(b[0]), kind: string(b[frameHead : frameHead+n]), payload: b[frameHead+n:]}
	if len(f.payload) > MaxPayload {
		return frame{}, errTooLong
	}
	return f, nil
}

// readFrame reads one frame of no more than limit octets behind its length.
func readFrame(r io.Reader, limit int) (frame, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if uint64(n) > uint64(limit) {
		return frame{}, errTooLong
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	return parseFrame(body)
}

// credit is the payload of a credit.
func credit(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// parseCredit reads a credit.
func parseCredit(b []byte) (int, error) {
	if len(b) != 4 {
		return 0, errTooShort
	}
	n := binary.BigEndian.Uint32(b)
	if n > maxWindow {
		return 0, fmt.Errorf("a credit of %d octets, more than a window may have", n)
	}
	return int(n), nil
}
