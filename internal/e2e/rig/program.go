package rig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Program is the path of lvsha, built from this module. All packages of tests share
// bin/e2e/lvsha, which the first of them builds. Inside the machine, which has no
// compiler, the environment names it.
var Program = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("LVSHA_PROGRAM"); path != "" {
		return path, nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	if err := readSources(root); err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin", "e2e")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the program's directory: %w", err)
	}
	// Packages of tests run side by side.
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("opening the program's lock: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("locking the program: %w", err)
	}
	path := filepath.Join(dir, "lvsha")
	if err := goTool(root, "build", "-o", path, "./cmd/lvsha"); err != nil {
		return "", err
	}
	return path, nil
})

// Root is the directory of this module, which tests run somewhere below.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no go.mod in %s or above", dir)
		}
	}
}

// readSources reads every directory with sources, for one effect alone: the go command
// notes what a test reads, and takes no result from its cache after that has changed.
// Programs that a test builds and runs are no part of the test's own binary.
func readSources(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			// Sources of tests that run beside make and remove files.
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return fmt.Errorf("reading the sources: %w", err)
		}
		if entry.IsDir() && path != root && (entry.Name() == "bin" || strings.HasPrefix(entry.Name(), ".")) {
			return fs.SkipDir
		}
		return nil
	})
}

// goTool runs the go command in a directory, without cgo: what it makes is static.
func goTool(dir string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
