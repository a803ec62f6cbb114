package director

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// missingCapabilities names what this process may not do although it must.
func missingCapabilities() []string {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return nil // without /proc the rooms' own errors have to do
	}
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	mask, err := strconv.ParseUint(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]), 16, 64)
	if err != nil {
		return nil
	}
	var missing []string
	for _, c := range []struct {
		bit  uint
		text string
	}{
		{unix.CAP_NET_ADMIN, "the daemon lacks CAP_NET_ADMIN: it cannot change addresses, IPVS or the sync daemons; run it as root or give it the capability"},
		{unix.CAP_NET_RAW, "the daemon lacks CAP_NET_RAW: it cannot send or hear VRRP or gratuitous ARP; run it as root or give it the capability"},
	} {
		if mask&(1<<c.bit) == 0 {
			missing = append(missing, c.text)
		}
	}
	return missing
}
