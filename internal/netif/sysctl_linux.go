package netif

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const procSys = "/proc/sys"

// Sysctl reads a kernel parameter by its path below /proc/sys, such as
// "net/ipv4/ip_forward". The error is fs.ErrNotExist where there is none: no such
// interface, or a module that is not loaded.
func (l *Links) Sysctl(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(procSys, name))
	if err != nil {
		return "", fmt.Errorf("reading the kernel parameter: %w", err)
	}
	// Several values of one parameter have a tab between them.
	return strings.Join(strings.Fields(string(text)), " "), nil
}

// SetSysctl sets a kernel parameter; the errors are those of Sysctl.
func (l *Links) SetSysctl(name, value string) error {
	if err := os.WriteFile(filepath.Join(procSys, name), []byte(value), 0); err != nil {
		return fmt.Errorf("setting the kernel parameter to %s: %w", value, err)
	}
	return nil
}
