package director

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/internal/config"
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
