package config_test

import (
	"fmt"

	"lvsha/internal/config"
)

// A file with three mistakes: all of them are told, with their lines.
func ExampleParse() {
	const text = `[director.lvs1]
priority = 500

[vrrp.web]
interface = "eth0"
vrid      = 51
advertize = "100ms"
addresses = ["192.0.2.10/24", "2001:db8::10/64 eth1"]
`
	_, err := config.Parse("lvsha.toml", []byte(text), config.Identity{As: "lvs1"})
	fmt.Println(err)
	// Output:
	// lvsha.toml:2: director.lvs1.priority: want an integer from 1 to 255, got 500
	// lvsha.toml:7: vrrp.web.advertize: unknown key "advertize"; did you mean "advertise"?
	// lvsha.toml:8: vrrp.web.addresses[2]: unknown word "eth1"; want "dev", "scope" or "label"
}
