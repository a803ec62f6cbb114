package connsync

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

const head = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"

const listing = head + `TCP C0000209 9C40 C000020A 0050 C0000215 0050 ESTABLISHED     899
UDP C0000209 1388 C000020A 0035 C0000215 0035 UDP             100
TCP C0000209 0000 C000020A 0050 C0000215 0050 ASSURED         360
IP  C0000209 0000 00000007 0000 C0000215 0000 NONE            360
TCP C0000209 0000 C000020A 0014 C0000215 0014 LISTEN          120
TCP 2001:0db8:0000:0000:0000:0000:0000:0009 9C40 2001:0db8:0000:0000:0000:0000:0000:0010 0050 2001:0db8:0000:0000:0000:0000:0000:0021 0050 CLOSE_WAIT        3
UDP C0000209 0000 C000020A 13C4 C0000215 13C4 ASSURED         360 sip a b@c
SCTP C0000209 1388 C000020A 0035 C0000215 0035 S-RECEIVED    18446744073709551615
IP_47 C0000209 0000 C000020A 0000 C0000215 0000 UDP              1
`

const syncedListing = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n" +
	"TCP C0000209 9C40 C000020A 0050 C0000215 0050 ESTABLISHED SYNC       899\n" +
	"TCP C0000209 9C41 C000020A 0050 C0000215 0050 SYNACK      LOCAL       59\n"

func conns(t *testing.T, text string, synced bool) (out []Conn) {
	t.Helper()
	for c, err := range Listing(iotest.OneByteReader(strings.NewReader(text)), synced) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func withEngine(k ConnKey, engine string) ConnKey {
	k.Engine = engine
	return k
}

func TestListing(t *testing.T) {
	want := []Conn{
		{Key: tcp4.Key, Server: tcp4.Server, State: tcpEstablished, Expires: 899},
		{Key: ConnKey{Protocol: protocolUDP, Client: ap("192.0.2.9:5000"), Virtual: ap("192.0.2.10:53")}, Server: ap("192.0.2.21:53"), Expires: 100},
		{Key: template4.Key, Server: template4.Server, State: 1, Expires: 360},
		{Key: markTemplate4.Key, Server: markTemplate4.Server, Expires: 360},
		{Key: ConnKey{Protocol: protocolTCP, Client: ap("192.0.2.9:0"), Virtual: ap("192.0.2.10:20")}, Server: ap("192.0.2.21:20"), State: tcpListen, Expires: 120},
		{Key: tcp6.Key, Server: tcp6.Server, State: 7, Expires: 3},
		{Key: withEngine(sip.Key, "sip a b@c"), Server: sip.Server, State: 1, Expires: 360, Engine: "sip", EngineData: "a b@c"},
		{Key: ConnKey{Protocol: protocolSCTP, Client: ap("192.0.2.9:5000"), Virtual: ap("192.0.2.10:53")}, Server: ap("192.0.2.21:53"), State: 10},
		{Key: ConnKey{Protocol: 47, Client: ap("192.0.2.9:0"), Virtual: ap("192.0.2.10:0")}, Server: ap("192.0.2.21:0"), Expires: 1},
	}
	if diff := cmp.Diff(want, conns(t, listing, false), addresses); diff != "" {
		t.Errorf("listing (-want +got):\n%s", diff)
	}
	want = []Conn{
		{Key: tcp4.Key, Server: tcp4.Server, State: tcpEstablished, Expires: 899, Synced: true},
		{Key: ConnKey{Protocol: protocolTCP, Client: ap("192.0.2.9:40001"), Virtual: ap("192.0.2.10:80")}, Server: ap("192.0.2.21:80"), State: tcpSynAck, Expires: 59},
	}
	if diff := cmp.Diff(want, conns(t, syncedListing, true), addresses); diff != "" {
		t.Errorf("listing with origins (-want +got):\n%s", diff)
	}
}

func TestListingRefuses(t *testing.T) {
	const line = "TCP C0000209 9C40 C000020A 0050 C0000215 0050 ESTABLISHED 899\n"
	for _, tt := range []struct{ name, from, to, want string }{
		{"columns", " 899", "", "8 columns, want 9"},
		{"protocol", "TCP", "XXX", `protocol "XXX" is unknown`},
		{"number of a protocol", "TCP", "IP_256", `protocol "IP_256" is unknown`},
		{"address", "C0000209", "C000020G", `address "C000020G"`},
		{"long address", "C0000209", "C000020900", `address "C000020900"`},
		{"port", "9C40", "19C40", `port "19C40"`},
		{"state", "ESTABLISHED", "BUG!", `state "BUG!" of tcp is unknown`},
		{"time", "899", "89x", `time "89x"`},
	} {
		var err error
		for _, err = range Listing(strings.NewReader(head+line+strings.Replace(line, tt.from, tt.to, 1)), false) {
			if err != nil {
				break
			}
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "line 3 ") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	broken := errors.New("broken")
	var err error
	for _, err = range Listing(io.MultiReader(strings.NewReader(head+line), iotest.ErrReader(broken)), false) {
	}
	if !errors.Is(err, broken) {
		t.Errorf("a reader that fails: %v", err)
	}
}

func FuzzListing(f *testing.F) {
	f.Add(listing, false)
	f.Add(syncedListing, true)
	f.Fuzz(func(t *testing.T, text string, synced bool) {
		p := NewPool(nil)
		for c, err := range Listing(strings.NewReader(text), synced) {
			if err != nil {
				return
			}
			r, why := p.Record(c, &Record{Server: c.Server})
			if why != fit {
				continue
			}
			// What may be shown may be handed over, and is read as it was meant.
			b, _ := AppendMessage(nil, 1, 1472, []Record{r})
			if c.Key.Client.Addr().Is4() != c.Key.Virtual.Addr().Is4() || c.Key.Client.Addr().Is4() != c.Server.Addr().Is4() {
				continue // not the kernel's
			}
			if m, err := Decode(b); err != nil || len(m.Records) != 1 || m.Records[0].Key != c.Key || m.Records[0].Server != c.Server {
				t.Fatalf("%+v was handed over as %+v, %v", c, m, err)
			}
		}
	})
}
