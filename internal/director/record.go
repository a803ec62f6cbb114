package director

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"lvsha/internal/machine"
	"lvsha/ipvs"
	connsync "lvsha/sync"
	"lvsha/vrrp"
)

// Phase says how far the life of the daemon that wrote a record had come.
type Phase string

const (
	// Running is written at the start: if it is found, the daemon was killed.
	Running Phase = "running"
	// Held means that the daemon stopped to be started again and left everything as it was.
	Held Phase = "held"
	// Releasing means that the daemon had begun to give everything up.
	Releasing Phase = "releasing"
	// Released means that nothing is left.
	Released Phase = "released"
)

// Record is what lvsha made on this machine and what a next process needs to
// go on. It is written before the thing it names is made.
type Record struct {
	// Boot is the kernel's boot id: a record of another boot means nothing.
	Boot     string            `json:"boot"`
	Phase    Phase             `json:"phase"`
	Services []ipvs.ServiceKey `json:"services"`
	Holdings
	Routers []RecordedRouter `json:"routers"`
	Daemons []connsync.Role  `json:"daemons"`
	// Filter says that there are tables of nftables.
	Filter bool `json:"filter,omitempty"`
	// Timeouts are those of IPVS that were found and changed.
	Timeouts ipvs.Timeouts `json:"timeouts,omitzero"`
	// Sysctls are the kernel parameters that were set, in that order.
	Sysctls []machine.Changed `json:"sysctls,omitempty"`
}

// RecordedRouter is the role of one virtual router.
type RecordedRouter struct {
	Key    vrrp.Key `json:"key"`
	Active bool     `json:"active"`
	// Interval is the advertisement interval in force.
	Interval time.Duration `json:"interval"`
	// Slot is its place in the file of heartbeats.
	Slot int `json:"slot"`
}

// store keeps the record in a file that is replaced whole.
type store struct {
	path string
	// outdated says that the record may name what has gone since. It is of the director's
	// goroutine.
	outdated bool

	mu     sync.Mutex // guards record, failed and the file
	record Record
	// failed is why the file does not say that.
	failed error
	// services is the text of the record's, and of what it was made: they are many, and
	// seldom others.
	services json.RawMessage
	of       []ipvs.ServiceKey
}

func recordPath(dir string) string { return filepath.Join(dir, "state.json") }

// readRecord returns the record of this boot that is in dir, or an empty one.
func readRecord(dir string) (Record, error) {
	boot, err := bootID()
	if err != nil {
		return Record{}, err
	}
	empty := Record{Boot: boot, Phase: Released}
	data, err := os.ReadFile(recordPath(dir))
	if errors.Is(err, os.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, fmt.Errorf("reading the record of the last process: %w", err)
	}
	var written struct {
		Record
		// AcceptLocal are the interfaces whose accept_local an earlier version set.
		AcceptLocal []string `json:"accept_local"`
	}
	if err := json.Unmarshal(data, &written); err != nil {
		return empty, fmt.Errorf("reading the record of the last process in %s: %w", recordPath(dir), err)
	}
	r := written.Record
	for _, ifname := range written.AcceptLocal {
		r.Sysctls = append(r.Sysctls, machine.Changed{Name: "net/ipv4/conf/" + ifname + "/accept_local", Found: "0", Set: "1"})
	}
	if r.Boot != boot {
		return empty, nil
	}
	return r, nil
}

// Owned are the services in the kernel that are the daemon's by the record in dir: of one
// that runs, or has left them to the next. Without a directory there are none.
func Owned(dir string) (map[ipvs.ServiceKey]bool, error) {
	r, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	owned := make(map[ipvs.ServiceKey]bool, len(r.Services))
	if r.Phase == Released {
		return owned, nil
	}
	for _, key := range r.Services {
		owned[key] = true
	}
	return owned, nil
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// read returns the record as it is.
func (s *store) read() Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record
}

// update changes the record and writes it.
func (s *store) update(change func(*Record)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.record)
	s.failed = s.write()
	return s.failed
}

// unwritten is why the file is not the record; nil when it is.
func (s *store) unwritten() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// retry writes again what could not be written.
func (s *store) retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		s.failed = s.write()
	}
}

// encode is the record as the file has it. The caller holds mu.
func (s *store) encode() ([]byte, error) {
	keys := s.record.Services // replaced whole, and never written to
	if s.services == nil || len(keys) != len(s.of) || len(keys) > 0 && &keys[0] != &s.of[0] {
		text, err := json.Marshal(keys)
		if err != nil {
			return nil, err
		}
		s.services, s.of = text, keys
	}
	return json.Marshal(struct {
		Record
		Services json.RawMessage `json:"services"`
	}{s.record, s.services})
}

// write replaces the file. The caller holds mu.
func (s *store) write() error {
	data, err := s.encode()
	if err != nil {
		return fmt.Errorf("encoding the record: %w", err)
	}
	// The file must survive this process, not this boot, so nothing is synced.
	temporary := s.path + ".new"
	if err := os.WriteFile(temporary, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the record: %w", err)
	}
	if err := os.Rename(temporary, s.path); err != nil {
		return fmt.Errorf("writing the record: %w", err)
	}
	return nil
}
