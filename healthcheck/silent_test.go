package healthcheck_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"lvsha/healthcheck"
)

// TestSilent: a server of which nothing is heard is silent to every kind of check,
// and one that takes a connection and says nothing is not.
func TestSilent(t *testing.T) {
	mute := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	hole := fullBacklog(t)
	deaf := packets(t, func([]byte) []byte { return nil })
	type server struct {
		name, at string
		silent   bool
	}
	// A busy machine has to get as far as the connection in it.
	const patience = 500 * time.Millisecond
	try := func(kind string, ask healthcheck.Question, at server) {
		t.Run(kind+" "+at.name, func(t *testing.T) {
			t.Parallel()
			probe, err := ask.Prepare()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			target := healthcheck.Target{Server: netip.MustParseAddrPort(at.at), Check: healthcheck.Check{Ask: ask, Timeout: patience}}
			if _, err = probe(ctx, target); err == nil || healthcheck.Silent(err) != at.silent {
				t.Errorf("%v: silent is %v, want %v", err, healthcheck.Silent(err), at.silent)
			}
		})
	}
	for _, k := range append(streamKinds(), streamKind{name: "tcp", ask: healthcheck.TCP{Expect: "ok"}}) {
		try(k.name, k.ask, server{"hole", hole, true})
		try(k.name, k.ask, server{"mute", mute, false})
	}
	for name, ask := range map[string]healthcheck.Question{
		"udp": healthcheck.UDP{Reply: true}, "dns": healthcheck.DNS{Name: ".", Record: "SOA"}, "sip": healthcheck.SIP{},
		"radius": healthcheck.RADIUS{Secret: "passw0rd"},
	} {
		try(name, ask, server{"deaf", deaf, true})
	}
}
