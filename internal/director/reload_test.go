package director

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/internal/config"
	"lvsha/vrrp/vrrptest"
)

// TestReloadsAtOnce: of two reloads, the first of which reads slowly, the text that was
// there last stays.
func TestReloadsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLone(t, drained)
		texts := make(chan string, 2)
		slow := make(chan struct{}, 1)
		m.d.opts.Load = func() (*config.Config, error) {
			cfg, err := config.Parse("lvsha.toml", []byte(<-texts), config.Identity{})
			select {
			case <-slow:
				time.Sleep(time.Second)
			default:
			}
			return cfg, err
		}
		slow <- struct{}{}
		var wg sync.WaitGroup
		for _, weight := range []string{"weight = 4", "weight = 5"} {
			texts <- strings.Replace(drained, "weight = 3", weight, 1)
			wg.Go(func() {
				if _, err := m.d.Reload(t.Context()); err != nil {
					t.Errorf("%s: %v", weight, err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=5")
	})
}

// twoAddresses is a file with a virtual router of two addresses.
const twoAddresses = "[director.lvs1]\n[vrrp.web]\ninterface = \"eth0\"\nvrid = 51\naddresses = [\"10.0.0.100/24\", \"10.0.0.101/24\"]\n"

// recordNames waits a while, and fails when the record then names other addresses.
func (m *lone) recordNames(when, want string) {
	m.Helper()
	m.pass(5 * time.Second)
	r, err := readRecord(m.dir)
	if err != nil {
		m.Fatal(err)
	}
	var names []string
	for _, a := range r.Addresses {
		names = append(names, a.Prefix.Addr().String())
	}
	if got := strings.Join(names, " "); got != want {
		m.Errorf("%s the record names %q, want %q", when, got, want)
	}
}

// TestRecordForgets: an address that a reload has dropped leaves the record when it has
// gone from the kernel. An operator may put it back, and the next start would take it away.
func TestRecordForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const text = twoAddresses
		m := newLoneAs(t, text, config.Identity{As: "lvs1"})
		holds := m.recordNames
		holds("at first", "10.0.0.100 10.0.0.101")
		m.text = strings.Replace(text, `, "10.0.0.101/24"`, "", 1)
		m.reload()
		holds("after a reload", "10.0.0.100")
		m.text = strings.Replace(text, "[vrrp.web]", "[vrrp.web]\npriority = 255", 1)
		m.reload()
		holds("of the machine's own", "")
	})
}

// TestRecordKeepsWhatStays: an address that cannot be removed, be it dropped by a reload or
// left by the last process, stays in the record, through further reloads too, until it goes.
func TestRecordKeepsWhatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const text = twoAddresses
		m := newLoneAs(t, text, config.Identity{As: "lvs1"})
		holds := m.recordNames
		fail := func(err error) { m.d.opts.Links.(*vrrptest.Links).Fail(err) }
		m.d.opts.Links.(*vrrptest.Links).Plug("eth0", "10.0.0.1/24")
		holds("at first", "10.0.0.100 10.0.0.101")
		m.failing = errors.New("not now")
		fail(m.failing)
		m.text = strings.Replace(text, `, "10.0.0.101/24"`, "", 1)
		m.reload()
		holds("after a reload", "10.0.0.100 10.0.0.101")
		m.reload()
		holds("after another reload", "10.0.0.100 10.0.0.101")
		m.stop()
		m.start()
		holds("of the next process", "10.0.0.100 10.0.0.101")
		m.reload()
		holds("after its reload", "10.0.0.100 10.0.0.101")
		fail(nil)
		holds("when it has gone", "10.0.0.100")
	})
}
