package ipvs

import (
	"net/netip"
	"strings"
	"testing"
)

// TestMerge: a list with what another one has beyond it, in its place.
func TestMerge(t *testing.T) {
	servers := func(names string) (list []Destination) {
		for _, n := range strings.ToLower(names) {
			list = append(list, Destination{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), 80)})
		}
		return list
	}
	for _, c := range []struct{ list, more, want string }{
		{"abc", "abc", "abc"}, {"", "abc", "abc"}, {"abc", "", "abc"},
		{"ac", "abc", "abc"}, {"bc", "abc", "abc"}, {"ab", "abc", "abc"}, {"abe", "abcde", "abcde"},
		{"xac", "abc", "xabc"}, {"ace", "abcd", "abcde"},
	} {
		var got strings.Builder
		for _, d := range merge(servers(c.list), servers(c.more)) {
			got.WriteByte(d.Addr.Addr().As4()[3])
		}
		if got.String() != c.want || lacks(servers(c.list), servers(c.more)) != (len(c.want) > len(c.list)) {
			t.Errorf("%q with %q: %q, want %q", c.list, c.more, got.String(), c.want)
		}
	}
}

func TestEngine(t *testing.T) {
	for _, text := range []string{"192.0.2.10:5060/udp", "[2001:db8::1]:5060/udp", "mark 5", "mark 5 ipv6"} {
		key, err := ParseServiceKey(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, engine := range []string{"", "sip"} {
			b, err := encodeService(Service{Key: key, Scheduler: "rr", Engine: engine})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := decodeService(b); got.Key != key || got.Engine != engine || got.Scheduler != "rr" || err != nil {
				t.Errorf("of %s with %q: %+v, %v", key, engine, got, err)
			}
		}
	}
}

func FuzzEngine(f *testing.F) {
	for _, engine := range []string{"", "sip"} {
		b, err := encodeService(Service{Key: MarkKey(5, false), Scheduler: "rr", Engine: engine})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-3])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeService(b); err != nil && s.Key != (ServiceKey{}) {
			t.Errorf("both the service %s and an error: %v", s.Key, err)
		}
		if d, err := decodeDestination(b); err != nil && d.Addr.IsValid() {
			t.Errorf("both the server %s and an error: %v", d.Addr, err)
		}
	})
}
