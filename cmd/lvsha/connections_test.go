package main

import (
	"errors"
	"iter"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	connsync "lvsha/sync"
)

// listing is a connection table as the kernel writes it to /proc/net/ip_vs_conn_sync.
const listing = `Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires
TCP C6336409 9C40 C000020A 0050 C0000215 0050 ESTABLISHED LOCAL      899
TCP C6336409 0000 C000020A 0050 C0000215 0050 ASSURED     SYNC       300
IP  C6336400 0000 00000005 0000 C0000216 0000 NONE        LOCAL       59
UDP 20010DB8000000000000000000000009 9C41 20010DB8000000000000000000000010 0035 20010DB8000000000000000000000021 0035 UDP         SYNC       280
`

func listed(text string) iter.Seq2[connsync.Conn, error] {
	// IPv6 addresses have colons in the kernel's own.
	text = strings.NewReplacer("20010DB8000000000000000000000009", "2001:0db8:0000:0000:0000:0000:0000:0009",
		"20010DB8000000000000000000000010", "2001:0db8:0000:0000:0000:0000:0000:0010", "20010DB8000000000000000000000021", "2001:0db8:0000:0000:0000:0000:0000:0021").Replace(text)
	return connsync.Listing(strings.NewReader(text), true)
}

// TestConnections: what is printed of connections and templates, and what is counted.
func TestConnections(t *testing.T) {
	var b strings.Builder
	if err := (connList{out: &b}).print(listed(listing)); err != nil {
		t.Fatal(err)
	}
	want := `PROTOCOL CLIENT                                   SERVICE                  SERVER                   STATE        EXPIRES  FROM
tcp      198.51.100.9:40000                       192.0.2.10:80            192.0.2.21:80            ESTABLISHED     899s  clients
template 198.51.100.9                             192.0.2.10:80            192.0.2.21:80            ASSURED         300s  sync
template 198.51.100.0                             mark 5                   192.0.2.22:0             NONE             59s  clients
udp      [2001:db8::9]:40001                      [2001:db8::10]:53        [2001:db8::21]:53        UDP             280s  sync
2 connections, 2 templates, 2 of all by synchronisation
  tcp ESTABLISHED          1
  udp UDP                  1
  to 192.0.2.21:80         1
  to [2001:db8::21]:53     1
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := (connList{out: &b}).print(listed(listing + "TCP nonsense\n")); err == nil || !strings.Contains(err.Error(), "line 6") {
		t.Errorf("a line that is none: %v", err)
	}
	none := func(yield func(connsync.Conn, error) bool) { yield(connsync.Conn{}, connsync.ErrNoIPVS) }
	if err := (connList{out: &b}).print(none); !errors.Is(err, connsync.ErrNoIPVS) {
		t.Errorf("without IPVS: %v", err)
	}
}

// TestConnFilter: by client, server and state.
func TestConnFilter(t *testing.T) {
	for _, c := range []struct {
		name string
		f    connFilter
		want int
	}{
		{"all", connFilter{}, 4},
		{"client", connFilter{client: netip.MustParsePrefix("198.51.100.0/24")}, 3},
		{"server", connFilter{server: netip.MustParseAddrPort("192.0.2.21:0")}, 2},
		{"server and port", connFilter{server: netip.MustParseAddrPort("192.0.2.21:81")}, 0},
		{"state", connFilter{state: "UDP"}, 1},
	} {
		n := 0
		for range c.f.only(listed(listing)) {
			n++
		}
		if n != c.want {
			t.Errorf("%s: %d, want %d", c.name, n, c.want)
		}
	}
}
