package connsync

import (
	"context"
	"net/netip"
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
