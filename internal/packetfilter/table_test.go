package packetfilter_test

import (
	"flag"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/packetfilter"
)

var update = flag.Bool("update", false, "write the golden files anew")

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// everything are rules of every kind, in both families.
func everything() packetfilter.Rules {
	pool := packetfilter.Pool{First: addr("10.1.0.240"), Last: addr("10.1.0.247")}
	one := packetfilter.Pool{First: addr("10.1.0.254"), Last: addr("10.1.0.254")}
	six := packetfilter.Pool{First: addr("fd01::254"), Last: addr("fd01::254")}
	return packetfilter.Rules{
		Marks: []packetfilter.Mark{
			{From: addr("192.0.2.10"), To: addr("192.0.2.10"), Protocol: 6, First: 443, Last: 443, Mark: 7},
			{From: addr("192.0.2.10"), To: addr("192.0.2.10"), Protocol: 6, First: 80, Last: 80, Mark: 7},
			{From: addr("192.0.2.11"), To: addr("192.0.2.11"), Protocol: 17, First: 8000, Last: 8999, Mark: 0x4d000001},
			{From: addr("192.0.2.12"), To: addr("192.0.2.15"), Protocol: 132, First: 0, Last: 65535, Mark: 8},
			{From: addr("2001:db8::10"), To: addr("2001:db8::10"), Protocol: 6, First: 80, Last: 81, Mark: 7},
		},
		Sources: []packetfilter.Source{
			{Pool: one, Server: addr("10.9.0.21"), Addr: addr("192.0.2.20"), Protocol: 6},
			{Pool: one, Server: addr("10.9.0.22"), Addr: addr("192.0.2.20"), Protocol: 6},
			{Pool: one, Server: addr("10.9.0.22"), Addr: addr("192.0.2.20"), Protocol: 17},
			{Pool: pool, Server: addr("10.9.0.23"), Addr: addr("192.0.2.21"), Protocol: 6},
			{Pool: pool, Server: addr("10.9.0.23"), Mark: 7},
			{Pool: six, Server: addr("fd09::21"), Addr: addr("2001:db8::20"), Protocol: 6},
			{Pool: six, Server: addr("fd09::21"), Mark: 7},
		},
		Exempt: packetfilter.Masked{Mark: 0x4c560000, Mask: 0xffff0000},
		Sync: &packetfilter.Sync{
			Own:       0x4c530001,
			Interface: "eth1", Group: netip.MustParseAddrPort("224.0.0.81:8848"), Peers: []netip.Addr{addr("10.0.0.3"), addr("10.0.0.2")},
		},
	}
}

func tablesText(r packetfilter.Rules) string {
	var b strings.Builder
	for _, t := range r.Tables() {
		b.WriteString(t.String())
	}
	return b.String()
}

func TestTables(t *testing.T) {
	got := tablesText(everything())
	const golden = "testdata/tables.nft"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTablesAnyOrder: the same rules in another order, some of them twice, are the same
// tables.
func TestTablesAnyOrder(t *testing.T) {
	a, b := everything(), everything()
	slices.Reverse(b.Marks)
	slices.Reverse(b.Sources)
	slices.Reverse(b.Sync.Peers)
	b.Marks, b.Sources = append(b.Marks, b.Marks...), append(b.Sources, b.Sources[0])
	if diff := cmp.Diff(tablesText(a), tablesText(b)); diff != "" {
		t.Errorf("(-in order +in another):\n%s", diff)
	}
	if got := (packetfilter.Rules{}).Tables(); len(got) > 0 || !(packetfilter.Rules{}).Empty() {
		t.Errorf("no rules make %v", got)
	}
}
