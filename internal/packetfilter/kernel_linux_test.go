package packetfilter_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"lvsha/internal/lab"
	"lvsha/internal/packetfilter"
)

// host is a network namespace with a connection to its nftables.
func host(t *testing.T) (*lab.Host, packetfilter.Kernel) {
	t.Helper()
	n, err := lab.NewNetwork()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	h, err := n.Host("filter")
	if err != nil {
		t.Fatal(err)
	}
	var k packetfilter.Kernel
	err = h.Do(func() (err error) {
		k, err = packetfilter.Open()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return h, k
}

func run(t *testing.T, h *lab.Host, command string) string {
	t.Helper()
	words := strings.Fields(command)
	out, err := h.Run(words[0], words[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func same(t *testing.T, k packetfilter.Kernel, r packetfilter.Rules, want bool) {
	t.Helper()
	got, err := k.Same(r.Tables())
	if err != nil || got != want {
		t.Errorf("same: %v, %v, want %v", got, err, want)
	}
}

// TestKernelTables: what is written is what is read back, by a process that has not
// written it too; what somebody changes is seen and put back; others' tables stay.
func TestKernelTables(t *testing.T) {
	h, k := host(t)
	run(t, h, "nft add table ip site")
	all := everything()
	same(t, k, all, false)
	if err := k.Replace(all.Tables()); err != nil {
		t.Fatal(err)
	}
	same(t, k, all, true)
	same(t, k, all, true)
	listed := run(t, h, "nft -n list ruleset")
	for _, want := range []string{
		"192.0.2.11 . 17 . 8000-8999 : goto mark-4d000001", "192.0.2.12/30 . 132 . 0-65535 : goto mark-00000008", "2001:db8::10 . 6 . 80-81 : goto mark-00000007",
		"ip daddr . meta l4proto . th dport vmap @marks", "meta mark set 0x4d000001", "snat to 10.1.0.240/29 persistent",
		"meta l4proto 6 ct original ip daddr 192.0.2.20 ip daddr @servers3 snat to 10.1.0.254",
		"meta mark 0x4c560000/16 accept", `"eth1" . 10.0.0.2`, "type nat hook postrouting",
	} {
		if !strings.Contains(listed, want) {
			t.Errorf("nft does not list %q:\n%s", want, listed)
		}
	}

	var other packetfilter.Kernel
	err := h.Do(func() (err error) {
		other, err = packetfilter.Open()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	same(t, other, all, true)

	for _, change := range []string{
		"nft delete element ip lvsha-ipvs marks { 192.0.2.10 . tcp . 80 }",
		"nft add element ip lvsha-ipvs marks { 192.0.2.10 . tcp . 81 : goto mark-00000007 }",
		"nft delete table ip6 lvsha-ipvs",
		"nft flush chain ip lvsha-ipvs postrouting",
		"nft add rule ip lvsha-ipvs prerouting drop",
		"nft insert rule ip lvsha-ipvs input accept",
		"nft add chain ip lvsha-ipvs more",
		"nft add set ip lvsha-ipvs more { type mark; }",
		"nft add rule ip lvsha-ipvs prerouting goto mark-00000007",
		"nft add rule ip lvsha-ipvs input ip saddr @servers3 accept",
		"nft chain ip lvsha-ipvs prerouting { policy drop; }",
	} {
		run(t, h, change)
		same(t, k, all, false)
		if err := k.Replace(all.Tables()); err != nil {
			t.Fatal(err)
		}
		same(t, k, all, true)
	}
	// What is none of ours is no difference.
	run(t, h, "nft add chain ip site more")
	same(t, k, all, true)

	// A mark that goes elsewhere, others that come and go, and servers of another pool.
	for range 3 {
		other := everything()
		other.Marks[0].Mark, other.Marks[2].Mark = 9, 10
		other.Marks = append(other.Marks[:3], packetfilter.Mark{From: addr("192.0.2.13"), To: addr("192.0.2.14"), Protocol: 6, First: 1, Last: 2, Mark: 11})
		other.Sources, other.Sync = other.Sources[2:], nil
		for _, r := range []packetfilter.Rules{other, all} {
			same(t, k, r, false)
			if err := k.Replace(r.Tables()); err != nil {
				t.Fatal(err)
			}
			same(t, k, r, true)
		}
	}
	// Messages of this machine alone, and a group of IPv6.
	for _, s := range []packetfilter.Sync{
		{Interface: "lo", Group: netip.MustParseAddrPort("224.0.0.81:8848")},
		{Interface: "eth1", Group: netip.MustParseAddrPort("[ff02::81]:8848"), Peers: []netip.Addr{addr("fe80::2")}},
	} {
		r := packetfilter.Rules{Sync: &s}
		if err := k.Replace(r.Tables()); err != nil {
			t.Fatal(err)
		}
		same(t, k, r, true)
	}
	same(t, k, all, false)
	less := all
	less.Marks = less.Marks[:1]
	same(t, k, less, false)
	if err := k.Replace(less.Tables()); err != nil {
		t.Fatal(err)
	}
	same(t, k, less, true)
	if err := k.Replace(nil); err != nil {
		t.Fatal(err)
	}
	same(t, k, packetfilter.Rules{}, true)
	if got := run(t, h, "nft list tables"); got != "table ip site\n" {
		t.Errorf("what is left: %q", got)
	}
	if err := k.Replace(nil); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
}

// TestKernelManyMarks: thousands of addresses are one map still.
func TestKernelManyMarks(t *testing.T) {
	_, k := host(t)
	var r packetfilter.Rules
	for i := range 3000 {
		a := addr(fmt.Sprintf("10.%d.%d.%d", i%250, i/250, i%200))
		six := netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(i >> 8), 15: byte(i)})
		for _, a := range []netip.Addr{a, six} {
			r.Marks = append(r.Marks, packetfilter.Mark{From: a, To: a, Protocol: 6, First: 80, Last: 90, Mark: 9})
		}
	}
	if err := k.Replace(r.Tables()); err != nil {
		t.Fatal(err)
	}
	same(t, k, r, true)
	r.Marks = r.Marks[1:]
	same(t, k, r, false)
	if err := k.Replace(r.Tables()); err != nil {
		t.Fatal(err)
	}
	same(t, k, r, true)
}

// TestKernelSameAgain: to look again costs the same for many rules as for few.
func TestKernelSameAgain(t *testing.T) {
	_, k := host(t)
	var allocations []float64
	for _, n := range []int{1, 1000} {
		var r packetfilter.Rules
		for i := range n {
			at := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			r.Marks = append(r.Marks, packetfilter.Mark{From: at, To: at, Protocol: 6, First: 80, Last: 80, Mark: 7})
		}
		tables := r.Tables()
		if err := k.Replace(tables); err != nil {
			t.Fatal(err)
		}
		allocations = append(allocations, testing.AllocsPerRun(10, func() {
			if same, err := k.Same(tables); err != nil || !same {
				t.Fatalf("same: %v, %v", same, err)
			}
		}))
	}
	if allocations[1] > allocations[0]+10 {
		t.Errorf("%v allocations, of many rules more than of few", allocations)
	}
}

// TestKernelReloaded: nf_tables counts from one again when it is loaded again, so that its
// number alone is not believed for ever.
func TestKernelReloaded(t *testing.T) {
	h, k := host(t)
	tables := everything().Tables()
	if err := k.Replace(tables); err != nil {
		t.Fatal(err)
	}
	is := func(want bool) {
		t.Helper()
		if got, err := k.Same(tables); err != nil || got != want {
			t.Errorf("same: %v, %v, want %v", got, err, want)
		}
	}
	is(true)
	run(t, h, "nft flush ruleset")
	if err := packetfilter.Renumber(k, 0); err != nil {
		t.Fatal(err)
	}
	is(true) // as it cannot be told yet
	if err := packetfilter.Renumber(k, packetfilter.Trust); err != nil {
		t.Fatal(err)
	}
	is(false)
}
