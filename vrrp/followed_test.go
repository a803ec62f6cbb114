package vrrp_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/vrrp"
	"lvsha/vrrp/vrrptest"
)

// TestEngineFollows_BFD_VR_01: the address to be watched is that of the last
// accepted advertisement, while there is an Active that has not given up; and what
// is said about a path concerns the routers on its interface only.
func TestEngineFollows_BFD_VR_01(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
		var mu sync.Mutex
		var seen []string
		two.engine = vrrp.New(vrrp.Options{Port: two.port, Links: two.links, OnFollow: func(f vrrp.Followed) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprintf("%s from %s", f.Active, f.Source))
		}})
		follows := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			same(t, what, strings.Join(want, "\n"), strings.Join(seen, "\n"))
			seen = nil
		}
		active := netip.MustParseAddr("10.0.0.1")
		two.run(priority(100))
		time.Sleep(10 * time.Millisecond)
		follows("at the start", "invalid IP from 10.0.0.2")
		one.run(priority(255))
		time.Sleep(time.Second)
		follows("with an Active", "10.0.0.1 from 10.0.0.2")

		two.engine.PeerDown("eth1", active, time.Now())
		time.Sleep(time.Second)
		follows("another interface's path is dead")
		one.stop(vrrp.Hold)
		time.Sleep(95 * time.Millisecond)
		two.engine.PeerDown("eth0", active, time.Now())
		time.Sleep(59 * time.Millisecond)
		follows("the path is dead, within the skew")
		time.Sleep(3 * time.Millisecond)
		follows("the path is dead", "invalid IP from 10.0.0.2")
		if got := two.engine.Snapshot()[0]; got.State != vrrp.Active {
			t.Errorf("%s: %s", got.State, got.Reason)
		}
		two.configure()
		time.Sleep(2 * time.Second)
		follows("removed", "invalid IP from invalid IP")
		two.stop(vrrp.Release)
	})
}
