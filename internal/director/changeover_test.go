package director

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/internal/packetfilter"
	"lvsha/ipvs"
)

// marked has a service by a mark of lvsha's.
const marked = `
[service.web]
listen = "192.0.2.10:80-89/tcp"
owner = "none"
mark = 7
forward = "dr"
[[service.web.server]]
address = "10.0.0.1"
[service.plain]
listen = "192.0.2.10:443/tcp"
owner = "none"
forward = "dr"
[[service.plain.server]]
address = "10.0.0.1"
`

// logged is a packet filter that takes its time and writes down what is done.
type logged struct {
	*packetfilter.Memory
	takes time.Duration
	log   io.Writer
}

func (l *logged) Same(tables []packetfilter.Table) (bool, error) {
	time.Sleep(l.takes)
	return l.Memory.Same(tables)
}

func (l *logged) Replace(tables []packetfilter.Table) error {
	fmt.Fprintln(l.log, "packet filter replaced")
	return l.Memory.Replace(tables)
}

// shared is a log of several.
type shared struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// take returns what was written since the last time.
func (s *shared) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.text.String()
	s.text.Reset()
	return text
}

func newMarked(t *testing.T) (m *lone, filter *logged, log *shared) {
	log = &shared{}
	filter = &logged{Memory: packetfilter.NewMemory(), log: log}
	m = &lone{T: t, table: ipvs.NewMemory(log), dir: t.TempDir(), state: t.TempDir(), text: marked}
	m.filter = func() (packetfilter.Kernel, error) { return filter, nil }
	m.start()
	t.Cleanup(func() { m.stop() })
	log.take()
	return m, filter, log
}

// TestSameRulesDoNotWait: a reload that changes nothing for the packet filter does not
// wait for one that is slow.
func TestSameRulesDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, filter, _ := newMarked(t)
		filter.takes = 4 * changeTimeout
		m.text = strings.Replace(marked, "address = \"10.0.0.1\"\n", "address = \"10.0.0.1\"\nweight = 5\n", 1)
		start := time.Now()
		m.reload()
		if took := time.Since(start); took > changeTimeout/2 {
			t.Errorf("it took %s", took)
		}
		m.has("192.0.2.10:443/tcp>10.0.0.1:443=1 mark 7>10.0.0.1:0=5")
	})
}

// TestRestartWithOtherMarks: of what the last process has left, nothing goes before
// packets are led to what is new, also when the file has changed meanwhile.
func TestRestartWithOtherMarks(t *testing.T) {
	for _, c := range []struct{ name, from, to, gone, comes string }{
		{"another mark", "mark = 7", "mark = 8", "mark 7", "mark 8"},
		{"no mark any more", "80-89/tcp\"\nowner = \"none\"\nmark = 7", "80/tcp\"\nowner = \"none\"", "mark 7", "192.0.2.10:80/tcp"},
		{"a mark now", "192.0.2.10:443/tcp\"", "192.0.2.10:443/tcp\"\nmark = 9", "192.0.2.10:443/tcp", "mark 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, _, log := newMarked(t)
				m.text = strings.Replace(marked, c.from, c.to, 1)
				m.restart()
				order := log.take()
				comes, leads, goes := strings.Index(order, "add server 10.0.0.1:"), strings.Index(order, "packet filter replaced"), strings.Index(order, "remove service "+c.gone)
				if !strings.Contains(order, "add service "+c.comes) || comes < 0 || leads < comes || goes < leads {
					t.Errorf("order:\n%s", order)
				}
			})
		})
	}
}

// TestRestartWithFullNAT: a service with full NAT waits for its source addresses.
func TestRestartWithFullNAT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _, log := newMarked(t)
		m.text = marked + "[service.far]\nlisten = \"192.0.2.10:81-82/udp\"\nmark = 9\nowner = \"none\"\nforward = \"fullnat\"\nsnat = \"10.1.0.254\"\n[[service.far.server]]\naddress = \"10.9.0.21\"\n"
		m.restart()
		order := log.take()
		if leads, comes := strings.Index(order, "packet filter replaced"), strings.Index(order, "add service mark 9"); leads < 0 || comes < leads {
			t.Errorf("order:\n%s", order)
		}
	})
}
