package connsync

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// twoMarks are two services by mark that share a server, with another forwarding method.
func twoMarks(known bool) []Service {
	out := make([]Service, 2)
	for i := range out {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(50 + i)})
		out[i] = Service{
			Virtual: ap("0.0.0.0:0"), Mark: uint32(7 + i), Covered: known,
			Servers: []Server{{Addr: ap("192.0.2.21:0"), Forward: []Flags{ForwardDR, ForwardNAT}[i]}},
		}
		if known {
			out[i].Covers = []Cover{{From: a, To: a, Protocol: protocolTCP, First: 1, Last: 65535}}
		}
	}
	return out
}

// markKey is a connection to the first or the second of them.
func markKey(i int) ConnKey {
	k := key(i)
	k.Virtual = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(50 + i%2)}), 443)
	return k
}

// TestExchangeMarks: of two services by mark that share a server each connection is handed
// over with its own mark and forwarding method, if the file says which address has which
// mark. Where it does not none is handed over as what it is not, and both directors say
// so; what the kernel has told of one is known all the same.
func TestExchangeMarks(t *testing.T) {
	const count = 20
	whole := func(c *cluster) string {
		k := c.nodes[1].kernel
		k.mu.Lock()
		defer k.mu.Unlock()
		for i := range count {
			conn := k.conns[markKey(i)]
			want := twoMarks(true)[i%2]
			if conn == nil || conn.mark != want.Mark || conn.flags&ForwardMask != want.Servers[0].Forward || conn.bound == nil || conn.bound.Forward != want.Servers[0].Forward {
				return fmt.Sprintf("connection %d is %+v", i, conn)
			}
		}
		return ""
	}
	transports(t, func(t *testing.T, transport Transport) {
		for _, known := range []bool{true, false} {
			c := newCluster(t, transport)
			for _, n := range c.nodes {
				n.kernel.set(func(k *fakeKernel) { k.services = twoMarks(known) })
			}
			one := c.nodes[0]
			one.Serves([]netip.Addr{netip.MustParseAddr("192.0.2.50"), netip.MustParseAddr("192.0.2.51")})
			told := known
			if !known && transport == Channel {
				// What the kernel says as it makes them is heard.
				told = true
				c.until("the tap", time.Minute, func() bool {
					one.kernel.mu.Lock()
					defer one.kernel.mu.Unlock()
					return len(one.kernel.taps) > 0
				})
			}
			for i := range count {
				one.kernel.openTo(markKey(i), i%2, 0)
			}
			if told && !known {
				c.until("all of it heard", time.Minute, func() bool { return one.Snapshot().Heard == count })
			}
			c.connect()
			c.until("a table", time.Minute, func() bool {
				p := c.nodes[1].Snapshot().Partners[0]
				return p.Last != nil && p.Last.Problem == "" && (told || p.Last.Unknown > 0)
			})
			if told {
				if wrong := whole(c); wrong != "" || !maps.Equal(one.kernel.keys(), c.nodes[1].kernel.keys()) {
					t.Errorf("known %t: %s", known, wrong)
				}
				if s := c.nodes[1].Snapshot(); s.State != "in sync" {
					t.Errorf("known %t: state %q", known, s.State)
				}
				continue
			}
			if got := c.nodes[1].kernel.keys(); len(got) != 0 {
				t.Errorf("handed over as what they may not be: %v", got)
			}
			s := c.nodes[1].Snapshot()
			if want := "differs: 20 connections of lvs1 are not handed over, because it cannot tell their service"; !strings.HasPrefix(s.State, want) {
				t.Errorf("state %q, want %q", s.State, want)
			}
			if s := one.Snapshot(); len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "20 connections cannot be handed over") {
				t.Errorf("the giver says %q", s.Problems)
			}
		}
	})
}
