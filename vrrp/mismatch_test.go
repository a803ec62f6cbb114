package vrrp_test

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/vrrp"
	"lvsha/vrrp/vrrptest"
)

// TestV3_RX_11_12: a packet with another interval or another list of addresses
// is counted, told of once in ten minutes (V3-RX-20), and used.
func TestV3_RX_11_12(t *testing.T) {
	r := vrrp.NewRouter(base())
	r.Step(epoch, usable)
	r.Step(epoch, vrrp.Startup{})
	notices := 0
	hear := func(at time.Duration) {
		ev := received(at, higher, 150, 2*time.Second)
		ev.Advertisement.Addresses = []netip.Addr{netip.MustParseAddr("198.51.100.7")}
		for _, a := range r.Step(epoch.Add(at), ev) {
			if n, ok := a.(vrrp.Notice); ok && n.Kind == vrrp.NoticeMismatch {
				notices++
			}
		}
	}
	for n := range 3 {
		hear(time.Duration(n) * 2 * time.Second)
	}
	s := r.Status()
	if s.State != vrrp.Backup || s.Counters.AdvertisementsReceived != 3 || s.Counters.IntervalMismatches != 3 || s.Counters.AddressListMismatches != 3 {
		t.Errorf("status %+v", s)
	}
	if notices != 2 { // one for each difference
		t.Errorf("%d notices", notices)
	}
	// It was used: the interval is learned (V3-BCK-08).
	if got := r.Deadline().Sub(epoch.Add(4 * time.Second)); got < 6*time.Second {
		t.Errorf("Active_Down_Timer runs out after %s", got)
	}
}

// TestV2_RX_03: in version 2 another interval is an error, and moves nothing
// (V3-RX-19).
func TestV2_RX_03(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		c := priority(100)
		c.Version, c.Interval = 2, time.Second
		one.run(c)
		time.Sleep(5 * time.Second)
		one.said()
		adv := vrrp.Advertisement{Version: 2, VRID: 51, Priority: 254, Interval: 2 * time.Second, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.10")}}
		src := netip.MustParseAddr("10.0.0.9")
		b, err := adv.AppendTo(nil, src, vrrp.GroupAddress(vrrp.IPv4), vrrp.ChecksumAuto)
		if err != nil {
			t.Fatal(err)
		}
		lan.Inject(vrrp.Packet{Interface: "eth0", Source: src, Destination: vrrp.GroupAddress(vrrp.IPv4), TTL: 255, Payload: b}, nil)
		synctest.Wait()
		s := one.engine.Snapshot()[0]
		if s.State != vrrp.Active || s.Counters.IntervalErrors != 1 || s.Counters.AdvertisementsReceived != 0 {
			t.Errorf("status %+v", s)
		}
		if told := one.said(); !strings.Contains(told, "packet-dropped") {
			t.Errorf("told %q", told)
		}
		one.stop(vrrp.Release)
	})
}
