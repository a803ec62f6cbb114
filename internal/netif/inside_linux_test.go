package netif_test

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"lvsha/internal/netif"
)

// inside runs f with the interfaces of a namespace.
func (l *lan) inside(ns string, f func(*netif.Links)) {
	l.t.Helper()
	if err := inNamespace(ns, f); err != nil {
		l.t.Fatal(err)
	}
}

// inNamespace runs f on an OS thread of its own, which nothing else uses any more
// after it has entered the namespace.
func inNamespace(ns string, f func(*netif.Links)) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			file, err := os.Open("/run/netns/" + ns)
			if err != nil {
				return err
			}
			defer file.Close()
			if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
				return os.NewSyscallError("setns", err)
			}
			links := netif.New(nil)
			defer links.Close()
			f(links)
			return nil
		}()
	}()
	return <-done
}

// try fails the test if an operation failed.
func try(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// tables are the names of a namespace's tables of nftables.
func (l *lan) tables(ns string) string {
	l.t.Helper()
	var names []string
	l.inside(ns, func(*netif.Links) {
		c, err := nftables.New()
		if err != nil {
			l.t.Error(err)
			return
		}
		tables, err := c.ListTables()
		try(l.t, err)
		for _, table := range tables {
			names = append(names, table.Name)
		}
	})
	return strings.Join(names, " ")
}
