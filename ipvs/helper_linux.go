package ipvs

import (
	"fmt"
	"os"
	"strings"
)

// Helpers returns the names of the application helpers that this network namespace's
// IPVS has: "ftp", when the module ip_vs_ftp is loaded. A kernel without IPVS has none.
func Helpers() ([]string, error) {
	text, err := os.ReadFile("/proc/thread-self/net/ip_vs_app")
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the helpers of IPVS: %w", err)
	}
	return parseHelpers(string(text)), nil
}

// parseHelpers reads lines of protocol, port, use count and name, below a heading
// (ip_vs_app_seq_show in net/netfilter/ipvs/ip_vs_app.c).
func parseHelpers(text string) (out []string) {
	_, lines, _ := strings.Cut(text, "\n")
	for line := range strings.Lines(lines) {
		if f := strings.Fields(line); len(f) == 4 {
			out = append(out, f[3])
		}
	}
	return out
}
