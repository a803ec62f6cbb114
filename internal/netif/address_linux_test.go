package netif

import (
	"net"
	"net/netip"
	"testing"

	"lvsha/vrrp"
)

// TestAwaitLocal: an address that the kernel has is local, another one is not.
func TestAwaitLocal(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	links := New(nil)
	defer links.Close()
	awaits := func(a netip.Addr) (local bool) {
		err := links.conns.ask(func(c *kernel) error {
			local = c.awaitLocal(lo.Index, a)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return local
	}
	for _, text := range []string{"2001:db8::9:a/128", "fe80::9:a/128"} {
		prefix := netip.MustParsePrefix(text)
		if err := links.Add("lo", vrrp.Address{Prefix: prefix}); err != nil {
			t.Fatal(err)
		}
		if !awaits(prefix.Addr()) {
			t.Errorf("%s is not local", prefix)
		}
		if err := links.Remove("lo", prefix); err != nil {
			t.Error(err)
		}
		if awaits(prefix.Addr()) {
			t.Errorf("%s is local after its removal", prefix)
		}
	}
}
