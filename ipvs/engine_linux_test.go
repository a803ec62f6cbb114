package ipvs

import (
	"testing"

	"github.com/mdlayher/netlink"
)

// serviceMessage encodes a service's answer as the kernel does.
func serviceMessage(t testing.TB, k ServiceKey, engine string) []byte {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	ae.Nested(cmdAttrService, func(ae *netlink.AttributeEncoder) error {
		encodeKey(ae, k)
		if engine != "" {
			ae.String(svcAttrEngine, engine)
		}
		return nil
	})
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEngineName(t *testing.T) {
	for _, text := range []string{"192.0.2.10:5060/udp", "[2001:db8::1]:5060/udp"} {
		k, err := ParseServiceKey(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"", "sip"} {
			if got, err := engineName(serviceMessage(t, k, want)); got != want || err != nil {
				t.Errorf("engine of %s is %q (%v), want %q", k, got, err, want)
			}
		}
	}
}

func FuzzEngineName(f *testing.F) {
	k := ServiceKey{Mark: 5}
	for _, engine := range []string{"", "sip"} {
		b := serviceMessage(f, k, engine)
		f.Add(b)
		f.Add(b[:len(b)-3])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if name, err := engineName(b); err != nil && name != "" {
			t.Errorf("both the name %q and an error: %v", name, err)
		}
	})
}
