package nlconn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/mdlayher/netlink"
)

// message is one as it is on the wire.
func message(t *testing.T, kind netlink.HeaderType, flags netlink.HeaderFlags, sequence uint32, data string) []byte {
	t.Helper()
	b, err := netlink.Message{
		Header: netlink.Header{Length: uint32(headerLen + len(data)), Type: kind, Flags: flags | netlink.Multi, Sequence: sequence},
		Data:   []byte(data),
	}.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// code is the data of a message that ends a list.
func code(n int32) string { return string(binary.NativeEndian.AppendUint32(nil, uint32(n))) }

// TestGather: what is in a list, and whether it was interrupted.
func TestGather(t *testing.T) {
	const item = 20
	m := func(kind netlink.HeaderType, flags netlink.HeaderFlags, sequence uint32, data string) []byte {
		return message(t, kind, flags, sequence, data)
	}
	join := func(parts ...[]byte) (out []byte) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	end := m(netlink.Done, 0, 7, code(0))
	for _, c := range []struct {
		name      string
		datagrams [][]byte
		cut       int // the datagram that was cut, from 1
		want      string
	}{
		{"in one", [][]byte{join(m(item, 0, 7, "aaaa"), end)}, 0, "[aaaa] false <nil>"},
		{"in parts", [][]byte{m(item, 0, 7, "aaaa"), m(item, 0, 7, "bbbb"), end}, 0, "[aaaa bbbb] false <nil>"},
		{"empty", [][]byte{end}, 0, "[] false <nil>"},
		{"interrupted in the middle", [][]byte{m(item, 0, 7, "aaaa"), m(item, netlink.DumpInterrupted, 7, "bbbb"), end}, 0, "[aaaa bbbb] true <nil>"},
		{"interrupted at the end", [][]byte{m(item, 0, 7, "aaaa"), m(netlink.Done, netlink.DumpInterrupted, 7, code(0))}, 0, "[aaaa] true <nil>"},
		{"another question's", [][]byte{m(item, netlink.DumpInterrupted, 6, "old!"), m(netlink.Done, 0, 6, code(0)), m(item, 0, 7, "aaaa"), end}, 0, "[aaaa] false <nil>"},
		{"cut off", [][]byte{join(m(item, 0, 7, "aaaa"), m(item, 0, 7, "bbbb")[:17]), end}, 1, "[aaaa] true <nil>"},
		{"ended by an error", [][]byte{m(item, 0, 7, "aaaa"), m(netlink.Done, 0, 7, code(-int32(syscall.ENODEV)))}, 0, "[aaaa] false netlink receive: no such device"},
		{"refused", [][]byte{m(netlink.Error, 0, 7, code(-int32(syscall.EPERM)))}, 0, "[] false netlink receive: operation not permitted"},
		{"wrong length", [][]byte{m(item, 0, 7, "aaaa")[:18]}, 0, "[] false the kernel's answer is cut short"},
		{"no end", [][]byte{m(item, 0, 7, "aaaa")}, 0, "[] false EOF"},
	} {
		n := 0
		messages, interrupted, err := gather(7, func() ([]byte, bool, error) {
			if n == len(c.datagrams) {
				return nil, false, io.EOF
			}
			n++
			return c.datagrams[n-1], n != c.cut, nil
		})
		var data []string
		for _, m := range messages {
			data = append(data, string(m.Data))
		}
		if got := fmt.Sprint(data, interrupted, err); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// TestAgain: what is interrupted is read again, but not for ever, and the error says
// so.
func TestAgain(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		// interrupted is for how many readings, and fails from which one on.
		interrupted, fails int
		want               string
		readings           int
	}{
		{"whole", 0, 99, "<nil>", 1},
		{"whole at the third", 2, 99, "<nil>", 3},
		{"fails", 0, 1, "broken", 1},
		{"fails because it was interrupted", 2, 1, "broken", 3},
		{"never whole", 999, 999, "it changed each time while it was read, 50 times in ", 50},
	} {
		n := 0
		err := Again(func() (bool, error) {
			n++
			if n >= c.fails && n > c.interrupted {
				return false, broken
			}
			return n <= c.interrupted, nil
		})
		if got := fmt.Sprint(err); !strings.HasPrefix(got, c.want) || n != c.readings {
			t.Errorf("%s: %d readings, %s; want %d, %s", c.name, n, got, c.readings, c.want)
		}
		if errors.Is(err, ErrInterrupted) != (c.interrupted == 999) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
