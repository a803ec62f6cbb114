package lab

import (
	"os"
	"os/exec"
)

// HostHasIPVS reports whether this host's kernel has IPVS, loading the module
// if that works.
func HostHasIPVS() bool {
	if _, err := os.Stat("/proc/net/ip_vs"); err == nil {
		return true
	}
	// An error means that there is no such module or no modprobe: then there is no file either.
	exec.Command("modprobe", "ip_vs").Run()
	_, err := os.Stat("/proc/net/ip_vs")
	return err == nil
}
