package connsync

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestTakingEnded: what a director serves itself and has seen end is not brought back by a
// table in which it still goes on, by whichever way it knows of its own entries.
func TestTakingEnded(t *testing.T) {
	ended := tcp4
	ended.State, ended.Timeout = tcpTimeWait, 120
	for _, shadowed := range []bool{false, true} {
		kernel := newFakeKernel()
		kernel.conns[ended.Key] = &fakeConn{
			Conn: Conn{Key: ended.Key, Server: ended.Server, State: ended.State}, until: time.Now().Add(time.Minute),
		}
		e := NewExchange(ExchangeOptions{System: kernel})
		if shadowed {
			e.cfg.Refresh = time.Minute
			e.shadow, e.warm = NewShadow(slack(e.cfg)), true
			e.shadow.Take(time.Now(), ended)
		}
		taking := &taking{
			session: &session{}, won: make(map[ConnKey]bool), fresh: make(map[ConnKey]bool),
			owners: &owners{ours: addressSet([]netip.Addr{tcp4.Key.Virtual.Addr()})},
		}
		own := func() (map[ConnKey]ownConn, error) { return e.ownConns(context.Background(), taking) }
		if took, err := taking.judge([]Record{tcp4}, own); err != nil || len(took) > 0 {
			t.Errorf("with a shadow (%v) it takes %v, %v", shadowed, took, err)
		}
	}
}

// TestManyAddresses: what is done about the addresses that are served costs as much for
// each, however many there are.
func TestManyAddresses(t *testing.T) {
	const many = 40000
	numbered := func(first byte) (out []netip.Addr) {
		for i := range many {
			out = append(out, netip.AddrFrom4([4]byte{first, byte(i >> 16), byte(i >> 8), byte(i)}))
		}
		return out
	}
	ours, theirs := numbered(10), numbered(11)
	services := make([]Service, 0, many)
	for _, a := range theirs {
		services = append(services, Service{Protocol: protocolTCP, Virtual: netip.AddrPortFrom(a, 80)})
	}
	start := time.Now()
	e := NewExchange(ExchangeOptions{System: newFakeKernel()})
	e.Serves(slices.Clone(ours))
	e.Serves(slices.Clone(ours))
	p := &partner{told: report{At: theirs}, full: make(map[netip.Addr]bool)}
	p.gave(ours, theirs)
	if got := len(p.complete(ours)); got != many {
		t.Errorf("complete for %d of %d", got, many)
	}
	if p.lacks(ours) {
		t.Error("something is lacking")
	}
	if rows := NewPool(services).rows(ours); len(rows) > 0 {
		t.Errorf("%d rows", len(rows))
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}
