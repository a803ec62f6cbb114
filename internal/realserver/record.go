package realserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"lvsha/internal/machine"
	"lvsha/internal/netif"
)

// Record is what was changed on this machine. It is written before the change.
type Record struct {
	// Boot is the kernel's boot id: a record of another boot means nothing.
	Boot      string            `json:"boot"`
	Sysctls   []machine.Changed `json:"sysctls,omitempty"`
	Ports     []netif.GUEPort   `json:"ports,omitempty"`
	Tunnels   []string          `json:"tunnels,omitempty"`
	Addresses []Address         `json:"addresses,omitempty"`
}

// Address is an address that was added to an interface.
type Address struct {
	Prefix    netip.Prefix `json:"prefix"`
	Interface string       `json:"interface"`
}

func (r Record) empty() bool {
	return len(r.Sysctls)+len(r.Ports)+len(r.Tunnels)+len(r.Addresses) == 0
}

// readRecord returns the record of this boot, or an empty one.
func readRecord(path string) (Record, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Record{}, fmt.Errorf("reading the boot id: %w", err)
	}
	empty := Record{Boot: strings.TrimSpace(string(id))}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, fmt.Errorf("reading what was changed before: %w", err)
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return empty, fmt.Errorf("reading what was changed before in %s: %w", path, err)
	}
	if r.Boot != empty.Boot {
		return empty, nil
	}
	return r, nil
}

// write replaces the file; an empty record is none.
func (r Record) write(path string) error {
	if r.empty() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the record: %w", err)
		}
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the record: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("writing the record: %w", err)
	}
	// The file must survive this process, not this boot, so nothing is synced.
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the record: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing the record: %w", err)
	}
	return nil
}
