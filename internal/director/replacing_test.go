package director

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/internal/config"
)

// TestReplacedAtRandom: whatever files follow each other, and however quickly, a service of
// which every server is healthy is never without one, and its sorry server is never needed.
func TestReplacedAtRandom(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 12))
				all := []string{"10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080", "10.0.0.1:8081", "10.0.0.2:8081", "10.0.0.3:8081"}
				servers := &probed{}
				for _, s := range all {
					servers.set(s, time.Duration(50+random.IntN(400))*time.Millisecond, false)
				}
				base := []string{"", "sorry = \"10.0.0.99:80\"\n", "scheduler = \"mh\"\nsorry = \"10.0.0.99:80\"\n", "on_fail = \"quiesced\"\nsorry = \"10.0.0.99:80\"\n"}[random.IntN(4)]
				var told []string
				draw := func() string {
					keys := base + []string{"", "", "max_down = 30\n", "panic = 50\n", "slow_start = \"10s\"\n", "initial = \"down\"\n", "require = \"any\"\n", "scale = 10\n"}[random.IntN(8)]
					sum := 0
					var chosen []string
					for _, i := range random.Perm(len(all))[:1+random.IntN(4)] {
						weight := 1 + random.IntN(3)
						sum += weight
						chosen = append(chosen, fmt.Sprintf("%s*%d", all[i], weight))
					}
					slices.Sort(chosen)
					if random.IntN(2) == 0 {
						keys += fmt.Sprintf("quorum = %d\n", 1+random.IntN(sum))
					}
					text := serviceOf(keys, chosen...)
					return strings.Replace(text, "type = \"http\"", []string{"type = \"http\"", "type = \"http\"", "type = \"http\", path = \"/b\"", "type = \"http\", path = \"/a\"", "type = \"http\", interval = \"1s\""}[random.IntN(5)], 1)
				}
				file := func() string {
					for tries := 0; ; tries++ {
						text := draw()
						if tries == 1000 {
							t.Fatal("no file is valid:", text)
						}
						if _, err := config.Parse("lvsha.toml", []byte(text), config.Identity{}); err != nil {
							continue // what cannot be combined
						}
						told = append(told, text)
						return text
					}
				}
				m, log := newProbed(t, file(), servers)
				m.pass(30 * time.Second)
				log.begin()
				for range 12 {
					m.text = file()
					if random.IntN(5) == 0 {
						m.restart()
					} else {
						m.reload()
					}
					m.pass(time.Duration(random.IntN(1200)) * time.Millisecond)
					if random.IntN(4) == 0 {
						m.pass(20 * time.Second)
					}
				}
				m.pass(30 * time.Second)
				log.mu.Lock()
				defer log.mu.Unlock()
				if len(log.wrong) > 0 {
					t.Errorf("%s\n\nthe files:\n%s\n\nwhat was done:\n%s", strings.Join(log.wrong, "\n"), strings.Join(told, "\n----\n"), strings.Join(log.lines, "\n"))
				}
			})
		})
	}
}

// TestAwaitedLonger: a file that comes while the first verdicts of the one before are still
// awaited does not shorten the time that these have.
func TestAwaitedLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sorry = "sorry = \"10.0.0.99:80\"\n"
		file := func(keys string, servers ...string) string {
			return strings.Replace(serviceOf(keys, servers...), "timeout =", "interval = \"1s\", rise = 5, timeout =", 1)
		}
		m, log := newProbed(t, file(sorry, "10.0.0.1:80"), &probed{})
		m.pass(10 * time.Second)
		log.begin()
		m.text = file(sorry+"initial = \"down\"", "10.0.0.1:80", "10.0.0.2:80")
		m.reload()
		m.pass(200 * time.Millisecond)
		m.text = file(sorry+"quorum = 3", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
		m.reload()
		m.pass(30 * time.Second)
		log.mu.Lock()
		defer log.mu.Unlock()
		if len(log.wrong) > 0 {
			t.Errorf("%s\n\n%s", strings.Join(log.wrong, "\n"), strings.Join(log.lines, "\n"))
		}
	})
}
