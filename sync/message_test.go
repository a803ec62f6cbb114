package connsync

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var messageDaemons = []Daemon{
	{Role: Master, Interface: "eth0", ID: 1, Group: DefaultGroup(), TTL: 1},
	{Role: Backup, Interface: "a-name-of-15-by", ID: 255, Group: netip.MustParseAddrPort("239.1.2.3:9999"), TTL: 1},
	{Role: Backup, Interface: "eth0", ID: 7, Group: netip.MustParseAddrPort("[ff02::51]:8848"), TTL: 3, MaxLen: 8000},
}

func TestMessageRoundTrip(t *testing.T) {
	for _, want := range messageDaemons {
		b, err := encodeDaemon(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeDaemon(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want, diff)
		}
	}
}

func FuzzDecodeDaemon(f *testing.F) {
	for _, d := range messageDaemons {
		b, err := encodeDaemon(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-5])
	}
	f.Add([]byte{4, 0, 3, 128})                                      // no attributes
	f.Add([]byte{12, 0, 3, 128, 8, 0, 1, 0, 9, 0, 0, 0})             // a third role
	f.Add([]byte{13, 0, 3, 128, 9, 0, 5, 0, 224, 0, 0, 81, 1, 0, 0}) // a group of five bytes
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decodeDaemon(b)
		if err != nil {
			return
		}
		if d.Role != Master && d.Role != Backup {
			t.Errorf("decoded the role %d", d.Role)
		}
		if !d.Group.IsValid() {
			t.Errorf("decoded the group %v", d.Group)
		}
	})
}
