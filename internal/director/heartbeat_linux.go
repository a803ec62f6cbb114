package director

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// heartbeatSlots is how many virtual routers can have their heartbeat kept.
const heartbeatSlots = 4096

// heartbeats is a file in memory that holds, for each virtual router, when it
// last advertised as Active, in nanoseconds of CLOCK_BOOTTIME. It is mapped,
// so that the VRRP loop keeps it with one store and no system call, and what
// was stored is there after a SIGKILL.
type heartbeats struct {
	memory []byte
	slots  atomic.Pointer[map[vrrp.Key]int]
}

func heartbeatPath(dir string) string { return filepath.Join(dir, "heartbeats") }

func openHeartbeats(dir string) (*heartbeats, error) {
	f, err := os.OpenFile(heartbeatPath(dir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the file of heartbeats: %w", err)
	}
	defer f.Close()
	// The room is taken now: a store into a hole of a full file system would be
	// the end of the process.
	if err := unix.Fallocate(int(f.Fd()), 0, 0, heartbeatSlots*8); err != nil {
		return nil, fmt.Errorf("sizing the file of heartbeats: %w", err)
	}
	return mapHeartbeats(int(f.Fd()), unix.MAP_SHARED)
}

// unkeptHeartbeats are forgotten with the process.
func unkeptHeartbeats() (*heartbeats, error) {
	return mapHeartbeats(-1, unix.MAP_PRIVATE|unix.MAP_ANON)
}

func mapHeartbeats(fd, flags int) (*heartbeats, error) {
	memory, err := unix.Mmap(fd, 0, heartbeatSlots*8, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, fmt.Errorf("mapping heartbeats: %w", err)
	}
	h := &heartbeats{memory: memory}
	h.slots.Store(&map[vrrp.Key]int{})
	return h, nil
}

// close forgets the mapping; beats must have ended.
func (h *heartbeats) close() error { return unix.Munmap(h.memory) }

// beat stores the time of an advertisement. It never waits.
func (h *heartbeats) beat(key vrrp.Key, boot time.Duration) {
	if slot, ok := (*h.slots.Load())[key]; ok {
		atomic.StoreInt64((*int64)(unsafe.Pointer(&h.memory[slot*8])), int64(boot))
	}
}

// assign sets which slot is whose.
func (h *heartbeats) assign(slots map[vrrp.Key]int) { h.slots.Store(&slots) }

// readHeartbeat returns what slot of the file in dir holds, zero if nothing.
func readHeartbeat(dir string, slot int) (time.Duration, error) {
	f, err := os.Open(heartbeatPath(dir))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("opening the file of heartbeats: %w", err)
	}
	defer f.Close()
	var b [8]byte
	if _, err := f.ReadAt(b[:], int64(slot)*8); err != nil {
		return 0, fmt.Errorf("reading the file of heartbeats: %w", err)
	}
	return time.Duration(binary.NativeEndian.Uint64(b[:])), nil
}

// bootTime is the time since boot, sleep included.
func bootTime() time.Duration {
	var ts unix.Timespec
	// CLOCK_BOOTTIME exists on every kernel that IPVS namespaces do.
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("director: reading CLOCK_BOOTTIME: %v", err))
	}
	return time.Duration(ts.Nano())
}
