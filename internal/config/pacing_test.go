package config_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/config"
	"lvsha/vrrp"
)

// TestPacing: sections are sorted, and each director may have its own.
func TestPacing(t *testing.T) {
	const text = `
[director.lvs1]
[director.lvs2.vrrp.web]
interface = "ens3"
[director.lvs2.pacing.front]
interfaces = ["ens3"]
gap = "2ms"

[vrrp.web]
interface = "eth0"
vrid = 1
addresses = ["192.0.2.10/24", "10.1.0.254/24 dev eth1"]
excluded = ["10.2.0.254/24 dev eth2"]

[pacing.front]
interfaces = "eth0"
gap = "1ms"
[pacing.back]
interfaces = ["eth2", "eth1"]
gap = "500us"
`
	for as, want := range map[string]vrrp.Pacing{
		"lvs1": {Name: "front", Interfaces: []string{"eth0"}, Gap: time.Millisecond},
		"lvs2": {Name: "front", Interfaces: []string{"ens3"}, Gap: 2 * time.Millisecond},
	} {
		cfg, err := config.Parse("lvsha.toml", []byte(text), config.Identity{As: as})
		if err != nil {
			t.Fatalf("as %s: %v", as, err)
		}
		all := []vrrp.Pacing{{Name: "back", Interfaces: []string{"eth2", "eth1"}, Gap: 500 * time.Microsecond}, want}
		if diff := cmp.Diff(all, cfg.Pacing); diff != "" {
			t.Errorf("as %s (-want +got):\n%s", as, diff)
		}
	}
}
