package lab

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// archive writes the newc form of cpio, which is what the kernel unpacks as
// its initial RAM disk (Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	w    *bufio.Writer
	seen map[string]bool
	ino  int
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriterSize(w, 1<<20), seen: make(map[string]bool)}
}

// entry writes one member with all directories above it; a path that is there
// already is left alone.
func (a *archive) entry(path string, mode fs.FileMode, kind uint32, size int64, data io.Reader) error {
	path = strings.TrimPrefix(filepath.Clean(path), "/")
	if path == "." || a.seen[path] {
		return nil
	}
	a.seen[path] = true
	if err := a.dir(filepath.Dir(path)); err != nil {
		return err
	}
	a.ino++
	fmt.Fprintf(a.w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.ino, kind|uint32(mode.Perm()), 0, 0, 1, 0, size, 0, 0, 0, 0, len(path)+1, 0)
	a.w.WriteString(path)
	a.pad(110+int64(len(path)), 1)
	if size > 0 {
		if _, err := io.CopyN(a.w, data, size); err != nil {
			return fmt.Errorf("packing %s: %w", path, err)
		}
		a.pad(size, 0)
	}
	return nil
}

// pad writes at least least zero octets, up to a multiple of four.
func (a *archive) pad(written int64, least int64) {
	n := least + (4-(written+least)%4)%4
	a.w.WriteString("\x00\x00\x00\x00"[:n])
}

const (
	cpioDir  = 0o040000
	cpioFile = 0o100000
	cpioLink = 0o120000
)

func (a *archive) dir(path string) error {
	return a.entry(path, 0o755, cpioDir, 0, nil)
}

func (a *archive) text(path, content string, mode fs.FileMode) error {
	return a.entry(path, mode, cpioFile, int64(len(content)), strings.NewReader(content))
}

func (a *archive) link(path, target string) error {
	return a.entry(path, 0o777, cpioLink, int64(len(target)), strings.NewReader(target))
}

// file packs the host's file src as path, following links.
func (a *archive) file(path, src string) error {
	f, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("packing: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("packing: %w", err)
	}
	return a.entry(path, info.Mode(), cpioFile, info.Size(), f)
}

// program packs an executable of the host under its own path, with the shared
// libraries that it needs.
func (a *archive) program(name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("a program for the machine is missing: %w", err)
	}
	if err := a.file(path, path); err != nil {
		return err
	}
	// ldd fails on a static program, which needs nothing.
	out, _ := exec.Command("ldd", path).Output()
	for _, field := range strings.Fields(string(out)) {
		if strings.HasPrefix(field, "/") {
			if err := a.file(field, field); err != nil {
				return err
			}
		}
	}
	return nil
}

// modules packs kernel modules with what they depend on, and returns their
// paths, with options, in the order in which they must be inserted.
func (a *archive) modules(version string, names []string) ([]string, error) {
	var order []string
	for _, name := range names {
		out, err := exec.Command("modprobe", "-S", version, "--show-depends", name).Output()
		if err != nil {
			return nil, fmt.Errorf("finding kernel module %s for %s: %w", name, version, err)
		}
		for _, line := range strings.Split(string(out), "\n") {
			insert, ok := strings.CutPrefix(strings.TrimSpace(line), "insmod ")
			path, _, _ := strings.Cut(insert, " ") // options may follow
			// The accelerated CRC cannot be inserted under emulation and has a generic twin.
			if !ok || strings.Contains(path, "crc32c-intel") || a.seen[strings.TrimPrefix(path, "/")] {
				continue
			}
			if err := a.file(path, path); err != nil {
				return nil, err
			}
			order = append(order, strings.TrimSpace(insert))
		}
	}
	return order, nil
}

func (a *archive) close() error {
	if err := a.entry("TRAILER!!!", 0, 0, 0, nil); err != nil {
		return err
	}
	if err := a.w.Flush(); err != nil {
		return fmt.Errorf("writing the initial RAM disk: %w", err)
	}
	return nil
}
