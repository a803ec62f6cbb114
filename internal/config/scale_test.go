package config_test

import (
	"fmt"
	"strings"
	"testing"

	"lvsha/internal/config"
)

// manyServices is a file of services with ten servers each.
func manyServices(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[service.s%d]\nlisten = \"192.0.2.%d:%d/tcp\"\nowner = \"none\"\nforward = \"nat\"\ncheck = { type = \"tcp\", interval = \"60s\" }\n", i, 1+i%100, 1000+i/100)
		for j := range 10 {
			fmt.Fprintf(&b, "[[service.s%d.server]]\naddress = \"10.%d.%d.%d:8000\"\nweight = 1\n", i, i/250, i%250, j+1)
		}
	}
	return b.String()
}

// BenchmarkParse reads a file of 1,000 services with ten servers each.
func BenchmarkParse(b *testing.B) {
	text := []byte(manyServices(1000))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := config.Parse("lvsha.toml", text, config.Identity{}); err != nil {
			b.Fatal(err)
		}
	}
}
