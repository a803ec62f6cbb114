package director

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/control"
)

const oneKept = `{"servers": [
  {"service": SERVICE, "server": "10.0.0.2:80"},
  {"service": SERVICE, "server": "10.0.0.1:80", "weight": {"weight": 4, "since": "2000-01-01T00:00:00Z"}}
]}`

// TestOverridesByHand: a file that somebody has edited stops no director. What asks for
// nothing is left out, and what cannot be read is kept beside.
func TestOverridesByHand(t *testing.T) {
	for _, c := range []struct {
		name, text string
		bad        string // in what is told
		has        string
	}{
		{"an entry that asks for nothing", oneKept, "",
			"192.0.2.10:80/tcp>10.0.0.1:80=4 192.0.2.10:80/tcp>10.0.0.2:80=3"},
		{"no JSON", "{ servers: [] }", "invalid character", "192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=3"},
		{"a weight that the kernel does not take", strings.Replace(oneKept, `"weight": 4`, `"weight": 70000`, 1), "weight 70000 of server 10.0.0.1:80 is not between 0 and 65535",
			"192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newLone(t, drained)
				path := filepath.Join(m.state, "overrides.json")
				service, err := json.Marshal(m.d.cfg.Services[0].Listen[0])
				if err != nil {
					t.Fatal(err)
				}
				m.stop()
				text := strings.ReplaceAll(c.text, "SERVICE", string(service))
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				m.start()
				m.has(c.has)
				kept, err := os.ReadFile(path + ".bad")
				if c.bad == "" {
					if err == nil {
						t.Errorf("put aside:\n%s", kept)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(text, string(kept)); diff != "" {
					t.Errorf("put aside (-want +got):\n%s", diff)
				}
				m.told("director", c.bad)
				m.told("director", path+".bad")
				// What is asked for now is kept, and the other one as well.
				m.ask(control.DoWeight, "web", "10.0.0.2", 5, 0)
				m.restart()
				m.has(strings.Replace(c.has, "=3", "=5", 1))
				if again, err := os.ReadFile(path + ".bad"); err != nil || string(again) != text {
					t.Errorf("put aside: %q, %v", again, err)
				}
			})
		})
	}
}

// TestOverridesUnwritten: what operators ask for holds although it cannot be written, they
// are told that it will not outlive the process, and it is written once that is possible.
func TestOverridesUnwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLone(t, drained)
		inTheWay := filepath.Join(m.state, "overrides.json.new")
		if err := os.MkdirAll(inTheWay, 0o755); err != nil {
			t.Fatal(err)
		}
		done, err := m.d.Servers(t.Context(), control.ServersRequest{Do: control.DoWeight, Service: "web", Server: "10.0.0.1", Weight: 7})
		if err != nil || !strings.Contains(done.Unkept, "not known to the next one") || !strings.Contains(done.Unkept, inTheWay) {
			t.Errorf("unkept: %q, %v", done.Unkept, err)
		}
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=7 192.0.2.10:80/tcp>10.0.0.2:80=3")
		problem := func() bool {
			return strings.Contains(strings.Join(m.d.Status().Problems, "\n"), "holds until this process ends")
		}
		m.pass(5 * time.Second)
		if !problem() {
			t.Errorf("the status has no problem of it: %q", m.d.Status().Problems)
		}
		if err := os.Remove(inTheWay); err != nil {
			t.Fatal(err)
		}
		m.pass(5 * time.Second)
		if problem() {
			t.Error("the status has the problem still")
		}
		m.restart()
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=7 192.0.2.10:80/tcp>10.0.0.2:80=3")
	})
}

// TestRecordUnwritten: the same of the record of what this director made.
func TestRecordUnwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLone(t, drained)
		inTheWay := recordPath(m.d.opts.Dir) + ".new"
		if err := os.MkdirAll(inTheWay, 0o755); err != nil {
			t.Fatal(err)
		}
		m.reload()
		if got := strings.Join(m.d.Status().Problems, "\n"); !strings.Contains(got, "may leave behind what lvsha made") {
			t.Errorf("problems: %q", got)
		}
		if err := os.Remove(inTheWay); err != nil {
			t.Fatal(err)
		}
		m.pass(5 * time.Second)
		if got := strings.Join(m.d.Status().Problems, "\n"); strings.Contains(got, "may leave behind") {
			t.Errorf("problems: %q", got)
		}
	})
}

// TestDiskHangs: a disk that hangs keeps neither an operator nor the director waiting, whose
// watchdog would end it. What was asked for last is written once the disk is back.
func TestDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLone(t, drained)
		back := make(chan struct{})
		var begun atomic.Int32
		m.d.overrides.replace = func(path, text string) error {
			begun.Add(1)
			<-back
			return replaceInDirectory(path, text)
		}
		for i, weight := range []int{7, 8, 9} {
			from := time.Now()
			done, err := m.d.Servers(t.Context(), control.ServersRequest{Do: control.DoWeight, Service: "web", Server: "10.0.0.1", Weight: weight})
			if err != nil || !strings.Contains(done.Unkept, "has not taken them within 2s") {
				t.Errorf("unkept: %q, %v", done.Unkept, err)
			}
			took := time.Since(from)
			if most := []time.Duration{2 * time.Second, 0, 0}[i]; took > most {
				t.Errorf("request %d took %v, want %v", i+1, took, most)
			}
			m.has(fmt.Sprintf("192.0.2.10:80/tcp>10.0.0.1:80=%d 192.0.2.10:80/tcp>10.0.0.2:80=3", weight))
		}
		m.pass(10 * time.Second)
		if got := strings.Join(m.d.Status().Problems, "\n"); !strings.Contains(got, "has not taken them within 2s") {
			t.Errorf("problems: %q", got)
		}
		if n := begun.Load(); n != 1 {
			t.Errorf("%d goroutines wait for the disk, want 1", n)
		}
		close(back)
		m.pass(3 * time.Second)
		if got := strings.Join(m.d.Status().Problems, "\n"); strings.Contains(got, "holds until this process ends") {
			t.Errorf("problems: %q", got)
		}
		m.restart()
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=9 192.0.2.10:80/tcp>10.0.0.2:80=3")
	})
}
