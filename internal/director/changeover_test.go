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
		filter.takes = 2 * time.Second
		m.text = strings.Replace(marked, "address = \"10.0.0.1\"\n", "address = \"10.0.0.1\"\nweight = 5\n", 1)
		start := time.Now()
		m.reload()
		if took := time.Since(start); took > changeTimeout/2 {
			t.Errorf("it took %s", took)
		}
		m.has("192.0.2.10:443/tcp>10.0.0.1:443=1 mark 7>10.0.0.1:0=5")
	})
}
