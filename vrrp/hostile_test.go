package vrrp_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/vrrp"
	"lvsha/vrrp/vrrptest"
)

// TestEngineRenamed: addresses do not stay on an interface that is no longer
// the virtual router's.
func TestEngineRenamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.run(priority(100))
		time.Sleep(time.Second)
		one.said()
		one.links.Rename("eth0", "lan0")
		same(t, "renamed", "active -> fault: interface eth0 does not exist (waiting for it)", one.said())
		if one.links.Has("lan0", vip) {
			t.Error("the address stayed on lan0")
		}
		one.links.Rename("lan0", "eth0")
		time.Sleep(time.Second)
		if !one.links.Has("eth0", vip) {
			t.Error("the address did not come back")
		}
		one.stop(vrrp.Release)
	})
}

// TestEngineStopsEarly: a stop that comes before the interfaces were looked at
// removes what the last process left all the same.
func TestEngineStopsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, &vrrp.Resume{Active: true})
		one.links.Plug("eth0", "10.0.0.1/24", vip)
		blind := &blindLinks{Links: one.links}
		one.engine = vrrp.New(vrrp.Options{Port: one.port, Links: blind, Boottime: func() time.Duration { return 0 }})
		one.run(priority(100))
		synctest.Wait()
		one.stop(vrrp.Release)
		if one.links.Has("eth0", vip) {
			t.Error("the address is still there")
		}
	})
}

// blindLinks never sees an interface.
type blindLinks struct{ *vrrptest.Links }

func (l *blindLinks) Watch(ctx context.Context, _ func([]vrrp.Link)) error {
	<-ctx.Done()
	return nil
}

// TestEngineStopsInVain: an address that cannot be removed does not keep a stop
// from ending, which says so.
func TestEngineStopsInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.run(priority(100))
		time.Sleep(time.Second)
		one.links.Fail(errors.New("operation not permitted"))
		start := time.Now()
		err := one.engine.Stop(context.Background(), vrrp.Release)
		if err == nil || !strings.Contains(err.Error(), "removing 192.0.2.10/24 from eth0: operation not permitted") {
			t.Errorf("stop returned %v", err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("stop took %v", took)
		}
		if err := <-one.ran; err != nil {
			t.Error(err)
		}
	})
}

// TestEngineSuspended: SIM-PAUSE-09 and ARP-10, a machine that slept says so when it
// wakes, and tells hosts of its addresses again.
func TestEngineSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		start := time.Now()
		var slept atomic.Int64
		one.engine = vrrp.New(vrrp.Options{
			Port: one.port, Links: one.links,
			Boottime: func() time.Duration { return time.Since(start) + time.Duration(slept.Load()) },
		})
		one.run(priority(100))
		time.Sleep(8 * time.Second)
		synctest.Wait()
		if s := one.engine.Snapshot()[0]; s.State != vrrp.Active || len(s.Alarms) != 0 {
			t.Errorf("before: %s, %v", s.State, s.Alarms)
		}
		one.links.Log()
		slept.Store(int64(time.Hour))
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		s := one.engine.Snapshot()[0]
		if len(s.Alarms) != 1 || s.Alarms[0].Kind != vrrp.NoticeStall || s.Alarms[0].Text != "did not run for 1h0m0s" {
			t.Errorf("after: %v", s.Alarms)
		}
		if log := one.links.Log(); !strings.Contains(log, "announce") {
			t.Errorf("nothing was announced:\n%s", log)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if s := one.engine.Snapshot()[0]; len(s.Alarms) != 0 {
			t.Errorf("two minutes later: %v", s.Alarms)
		}
		one.stop(vrrp.Release)
	})
}

// TestEngineFlushed: all addresses that somebody removed are put back at once,
// each at most once a second, and none that is no longer configured.
func TestEngineFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		const second = "192.0.2.11/24"
		both := priority(100)
		both.Addresses = append(both.Addresses, vrrp.Address{Prefix: netip.MustParsePrefix(second)})
		one.run(both)
		time.Sleep(time.Second)
		flush := func() {
			one.links.Take("eth0", vip)
			one.links.Take("eth0", second)
			synctest.Wait()
		}
		flush()
		if !one.links.Has("eth0", vip) || !one.links.Has("eth0", second) {
			t.Error("not every address was put back at once")
		}
		flush()
		if one.links.Has("eth0", vip) || one.links.Has("eth0", second) {
			t.Error("an address was put back twice in a second")
		}
		one.configure(priority(100))
		time.Sleep(2 * time.Second)
		if !one.links.Has("eth0", vip) || one.links.Has("eth0", second) {
			t.Error("want the address that is still configured, and only that")
		}
		one.stop(vrrp.Release)
	})
}
