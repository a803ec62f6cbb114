//go:build ipvskernel

package kernel_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
)

// TestKernelConnections: connections of every method and family, templates and marks, by
// service, client, server and state.
func TestKernelConnections(t *testing.T) {
	t.Parallel()
	r := rig.NewGrid(t)
	h := r.LVS[0]
	r.Check(h.WriteFile("/tmp/marks.nft", []byte("table inet site {\n chain marks {\n  type filter hook prerouting priority mangle\n  ip daddr 10.0.0.100 tcp dport 7300 meta mark set 5\n }\n}\n"), 0o644))
	r.Run(h, "nft", "-f /tmp/marks.nft")
	service := func(name, listen, more, server string) string {
		return fmt.Sprintf("[service.%[1]s]\nlisten = %[2]q\nscheduler = \"rr\"\n%[3]s\n[[service.%[1]s.server]]\naddress = %[4]q\n", name, listen, more, server)
	}
	file := rig.GridFile +
		service("dr", "10.0.0.100:7001/tcp", "forward = \"dr\"", "10.0.0.21") + service("dr6", "[2001:db8::100]:7001/tcp", "forward = \"dr\"", "2001:db8::21") +
		service("nat", "10.0.0.101:7001/tcp", "forward = \"nat\"", "10.1.0.23:6999") + service("nat6", "[2001:db8::101]:7001/udp", "forward = \"nat\"", "[2001:db8:1::23]:6999") +
		service("tun", "10.0.0.102:7001/tcp", "forward = \"tun\"\npersistence = \"5m\"", "10.0.0.22") + service("tun6", "[2001:db8::102]:7001/tcp", "forward = \"tun\"", "2001:db8::22") +
		service("marked", "mark 5", "forward = \"dr\"\npersistence = \"5m\"", "10.0.0.21")
	d := r.Lvsha(h, file)
	r.Active(d)
	r.Eventually("the table is complete", 30*time.Second, func() bool { return strings.Count(r.Table(h), "-a ") == 7 })
	ask := map[string]struct {
		protocol, to, at string
	}{
		"dr": {"tcp", "10.0.0.100:7001", "10.0.0.100:7001"}, "dr6": {"tcp", "[2001:db8::100]:7001", "[2001:db8::100]:7001"},
		"nat": {"tcp", "10.0.0.101:7001", "10.1.0.23:6999"}, "nat6": {"udp", "[2001:db8::101]:7001", "[2001:db8:1::23]:6999"},
		"tun": {"tcp", "10.0.0.102:7001", "10.0.0.102:7001"}, "tun6": {"tcp", "[2001:db8::102]:7001", "[2001:db8::102]:7001"},
		"marked": {"tcp", "10.0.0.100:7300", "10.0.0.100:7300"},
	}
	for name, a := range ask {
		on := r.DR
		if strings.HasPrefix(name, "nat") {
			on = r.NAT
		} else if strings.HasPrefix(name, "tun") {
			on = r.TUN
		}
		r.Tell(on, a.protocol, netip.MustParseAddrPort(a.at))
		if got := r.Ask(r.Client, a.protocol, netip.MustParseAddrPort(a.to), 0); !strings.Contains(got, ">") {
			t.Fatalf("%s: %s", name, got)
		}
	}
	type row struct {
		Protocol, Client, Virtual, Server, State string
		Template                                 bool
		Expires                                  int
	}
	var got struct {
		Connections []row
		Counts      struct {
			Total, Templates int
			States, Servers  map[string]int
		}
	}
	list := func(args ...string) []row {
		t.Helper()
		out, err := h.Run(r.Binary, append([]string{"connections", "--json"}, args...)...)
		r.Check(err)
		got.Connections, got.Counts.Total = nil, 0
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		if got.Counts.Total != len(got.Connections) {
			t.Errorf("%v: %d connections, %d counted", args, len(got.Connections), got.Counts.Total)
		}
		return got.Connections
	}
	for _, c := range []struct {
		args string
		want int
	}{
		{"--service=dr", 1}, {"--service=dr6", 1}, {"--service=nat", 1}, {"--service=nat6", 1}, {"--service=tun6", 1},
		{"--service=tun", 2}, {"--service=marked", 2}, // with the template
		{"--service=10.0.0.101:7001/tcp", 1}, {"--service=10.0.0.100", 2}, {"--service=10.0.0.100:7999/tcp", 0},
		{"--client=10.0.0.9", 6}, {"--client=10.0.0.0/24", 6}, {"--client=2001:db8::9", 3}, {"--client=192.0.2.0/24", 0},
		{"--server=10.0.0.22", 2}, {"--server=10.1.0.23:6999", 1}, {"--server=10.1.0.23:7000", 0}, {"--state=udp", 1}, {"--state=LISTEN", 0},
		{"--client=10.0.0.9 --server=10.0.0.21 --service=dr", 1},
	} {
		if rows := list(strings.Fields(c.args)...); len(rows) != c.want {
			t.Errorf("%s: %d rows, want %d: %+v", c.args, len(rows), c.want, rows)
		}
	}
	rows := list("--service=marked")
	for _, row := range rows {
		if row.Template && row.Virtual != "mark 5" || !row.Template && row.Virtual != "10.0.0.100:7300" || row.Expires <= 0 {
			t.Errorf("%+v", row)
		}
	}
	out, err := h.Run(r.Binary, "connections", "--count", "--json")
	r.Check(err)
	r.Check(json.Unmarshal([]byte(out), &got.Counts))
	if got.Counts.Total != 9 || got.Counts.Templates != 2 || got.Counts.Servers["10.0.0.21:7001"] != 1 {
		t.Errorf("counted %+v", got.Counts)
	}
	out, err = h.Run(r.Binary, "connections")
	r.Check(err)
	if !strings.Contains(out, "7 connections, 2 templates") || strings.Count(out, "\n") < 11 {
		t.Errorf("in words:\n%s", out)
	}
	for args, want := range map[string]string{"--service=nosuch": "there is dr, dr6, marked", "--client=nowhere": "exit status 2", "--server=:80": "exit status 2"} {
		if _, err := h.Run(r.Binary, "connections", args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}
