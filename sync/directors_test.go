package connsync

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// mesh is any number of directors whose channels can be cut.
type mesh struct {
	*cluster
	all []*node
	on  sync.Mutex // guards pairs
	// pairs are the links by their directors' numbers, the smaller first.
	pairs map[[2]int][2]*fakeLink
}

func newMesh(t *testing.T, transport Transport, count int) *mesh {
	m := &mesh{cluster: &cluster{T: t, transport: transport}, pairs: make(map[[2]int][2]*fakeLink)}
	for i := range count {
		m.all = append(m.all, nil)
		m.boot(i, newFakeKernel(), count)
	}
	t.Cleanup(func() {
		for i := range m.all {
			m.isolate(i)
		}
		for _, n := range m.all {
			n.stop()
			<-n.done
		}
	})
	return m
}

// boot starts a director over a kernel.
func (m *mesh) boot(i int, kernel *fakeKernel, count int) {
	name := func(i int) string { return fmt.Sprintf("lvs%d", i+1) }
	var others []string
	for j := range count {
		if j != i {
			others = append(others, name(j))
		}
	}
	m.all[i] = m.startBeside(name(i), kernel, others, func() (out []*fakeLink) {
		m.on.Lock()
		defer m.on.Unlock()
		for _, links := range m.pairs {
			out = append(out, links[:]...)
		}
		return out
	})
}

func pair(i, j int) [2]int { return [2]int{min(i, j), max(i, j)} }

// link joins two directors unless they are, and unlink parts them.
func (m *mesh) link(i, j int) {
	k := pair(i, j)
	m.on.Lock()
	_, joined := m.pairs[k]
	m.on.Unlock()
	if !joined {
		m.connectPair(m.all[k[0]], m.all[k[1]], func(links [2]*fakeLink) {
			m.on.Lock()
			defer m.on.Unlock()
			m.pairs[k] = links
		})
	}
}

func (m *mesh) unlink(i, j int) {
	k := pair(i, j)
	m.on.Lock()
	links, joined := m.pairs[k]
	delete(m.pairs, k)
	m.on.Unlock()
	if joined {
		m.cutLinks(links)
	}
}

func (m *mesh) isolate(i int) {
	for j := range m.all {
		if j != i {
			m.unlink(i, j)
		}
	}
}

// linkAll joins all directors, in an order.
func (m *mesh) linkAll(rng *rand.Rand) {
	var pairs [][2]int
	for j := range m.all {
		for i := range j {
			pairs = append(pairs, [2]int{i, j})
		}
	}
	rng.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
	for _, p := range pairs {
		m.link(p[0], p[1])
		time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
	}
}

// until waits for a condition, in simulated time.
func (m *mesh) until(what string, limit time.Duration, holds func() string) {
	m.Helper()
	deadline := time.Now().Add(limit)
	for {
		wrong := holds()
		if wrong == "" {
			return
		}
		if time.Now().After(deadline) {
			for _, n := range m.all {
				m.Logf("%s: %s", n.name, n.Snapshot().State)
				n.mu.Lock()
				for _, line := range n.said {
					m.Log(line)
				}
				n.mu.Unlock()
			}
			m.Fatalf("waited %s for %s: %s", limit, what, wrong)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// at is a connection to one of several virtual addresses.
func at(i int, address netip.Addr) ConnKey {
	k := key(i)
	k.Virtual = netip.AddrPortFrom(address, 80)
	return k
}

// virtuals are the virtual addresses of the simulation; nobody serves the last one.
var virtuals = []netip.Addr{virtual, netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("192.0.2.12")}

// severalServices are one at each of them.
func severalServices() (out []Service) {
	for _, a := range virtuals {
		s := newFakeKernel().services[0]
		s.Virtual = netip.AddrPortFrom(a, 80)
		out = append(out, s)
	}
	return out
}

// TestExchangeStaleThird: a backup that has heard nothing for long has no word beside the
// director that serves, whoever is connected first. Of an address that nobody serves the
// newer record counts on every director.
func TestExchangeStaleThird(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		for _, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
			m := newMesh(t, transport, 3)
			for _, n := range m.all {
				n.kernel.set(func(k *fakeKernel) { k.services = severalServices() })
			}
			active, stale := m.all[0], m.all[2]
			active.Serves([]netip.Addr{virtual})
			nobody := virtuals[len(virtuals)-1]
			for i := range 100 { // ten of which had the other server when the third one heard of them
				if i < 10 {
					stale.kernel.openTo(at(i, virtual), 0, 1-i%2)
					stale.kernel.openTo(at(i, nobody), 2, 1-i%2)
				}
			}
			time.Sleep(time.Minute)
			for i := range 100 {
				active.kernel.openTo(at(i, virtual), 0, i%2)
				active.kernel.openTo(at(i, nobody), 2, i%2)
			}
			pairs := [][2]int{{0, 1}, {1, 2}, {0, 2}}
			for _, n := range order {
				m.link(pairs[n][0], pairs[n][1])
				time.Sleep(3 * time.Second)
			}
			want := active.kernel.keys()
			// At once, but for an order in which a backup learns it with the next comparison.
			m.until("the active director's table everywhere", compareAll+2*time.Minute, func() string {
				for _, n := range m.all {
					for k, server := range want {
						if got := n.kernel.keys()[k]; got != server {
							return fmt.Sprintf("%s has %s at %q, the active director at %s", n.name, k, got, server)
						}
					}
				}
				return ""
			})
			for range 30 { // and it stays so
				time.Sleep(time.Second)
				for k, server := range want {
					if got := m.all[1].kernel.keys()[k]; got != server {
						t.Fatalf("order %v: %s is at %q later, want %s", order, k, got, server)
					}
					if got := active.kernel.keys()[k]; got != server {
						t.Fatalf("order %v: %s of the active director is at %q, was at %s", order, k, got, server)
					}
				}
			}
		}
	})
}

// TestExchangeDirectors simulates two to five directors: addresses move with and without a
// handing over, connections come and go, tables grow stale while channels are cut, and
// sessions begin in any order. No entry that its owner has is ever changed there or lost, and
// in the end each director has what the owners have, at their servers.
func TestExchangeDirectors(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		for count := 2; count <= 5; count++ {
			for seed := range uint64(2) {
				simulateDirectors(t, transport, count, seed)
			}
		}
	})
}

func simulateDirectors(t *testing.T, transport Transport, count int, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, uint64(count)))
	m := newMesh(t, transport, count)
	for _, n := range m.all {
		n.kernel.set(func(k *fakeKernel) { k.services = severalServices() })
	}
	owner := []int{0, rng.IntN(count)} // of the first two addresses
	serve := func() {
		for i, n := range m.all {
			var here []netip.Addr
			for a, o := range owner {
				if o == i {
					here = append(here, virtuals[a])
				}
			}
			n.Serves(here)
		}
	}
	serve()
	m.linkAll(rng)
	// truth is what each address' owner has forwarded and not seen end.
	truth := make(map[ConnKey]string)
	check := func(step int) {
		for k, server := range truth {
			o := owner[slices.Index(virtuals, k.Virtual.Addr())]
			if got := m.all[o].kernel.keys()[k]; got != server {
				t.Fatalf("%s, %d directors, seed %d, step %d: %s has %s at %q, it was made at %s", transport, count, seed, step, m.all[o].name, k, got, server)
			}
		}
	}
	for step := range 30 {
		a := rng.IntN(len(owner))
		from := m.all[owner[a]]
		switch rng.IntN(10) {
		case 0:
			m.isolate(rng.IntN(count))
		case 1, 2:
			m.linkAll(rng)
		case 3: // a planned move to a director that is there
			to := rng.IntN(count)
			m.linkAll(rng)
			time.Sleep(time.Minute) // two looks at what has ended while it was cut
			m.until("a handing over", 2*time.Minute, func() string {
				if err := from.HandOver(t.Context()); err != nil {
					return err.Error()
				}
				return ""
			})
			owner[a] = to
			serve()
			m.until("the last handing over", time.Minute, func() string {
				if err := from.HandOver(t.Context()); err != nil {
					return err.Error()
				}
				return ""
			})
		case 4: // some end
			for k := range truth {
				if k.Virtual.Addr() == virtuals[a] && rng.IntN(3) == 0 {
					from.kernel.close(k)
					delete(truth, k)
				}
			}
		default:
			for range rng.IntN(20) {
				k, server := at(rng.IntN(200), virtuals[a]), rng.IntN(2)
				from.kernel.openTo(k, a, server) // its client may use a port again
				from.kernel.set(func(kernel *fakeKernel) { kernel.conns[k].until = time.Now().Add(3 * time.Hour) })
				truth[k] = from.kernel.services[a].Servers[server].Addr.String()
			}
		}
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		check(step)
	}
	m.linkAll(rng)
	m.until("all tables", compareAll+2*time.Minute, func() string {
		for _, n := range m.all {
			keys := n.kernel.keys()
			for k, server := range truth {
				if keys[k] != server {
					return fmt.Sprintf("%s has %s at %q, want %s; owners %v", n.name, k, keys[k], server, owner)
				}
			}
		}
		return ""
	})
	check(-1)
	synctest.Wait()
}

// TestExchangeHungGiver: a director that says nothing more does not hold up the tables of
// others, and one that takes long to read its own is waited for.
func TestExchangeHungGiver(t *testing.T) {
	transports(t, func(t *testing.T, transport Transport) {
		m := newMesh(t, transport, 3)
		for _, n := range m.all {
			n.kernel.set(func(k *fakeKernel) { k.services = severalServices() })
		}
		slow, hung, fresh := m.all[0], m.all[1], m.all[2]
		for a, n := range m.all[:2] {
			n.Serves([]netip.Addr{virtuals[a]})
			for i := range 100 + 100*a { // more of the one that hangs, which is asked first
				n.kernel.openTo(at(i, virtuals[a]), a, 0)
			}
		}
		slow.kernel.set(func(k *fakeKernel) { k.slow = 300 * time.Millisecond })
		m.hung.Store(hung)
		synctest.Wait() // what was opened is told before anybody listens
		began := time.Now()
		m.link(1, 2)
		m.until("the one that hangs", time.Minute, func() string {
			if fresh.Exchange.mu.Lock(); fresh.taking == nil {
				defer fresh.Exchange.mu.Unlock()
				return "is not asked"
			}
			fresh.Exchange.mu.Unlock()
			return ""
		})
		m.link(0, 2)
		m.until("the table of the one that is slow", 5*time.Minute, func() string {
			if n := len(fresh.kernel.keys()); n != 100 {
				return fmt.Sprintf("%d connections", n)
			}
			return ""
		})
		t.Logf("after %s", time.Since(began))
		for _, p := range fresh.Snapshot().Partners {
			if p.Name == slow.name && p.Last != nil && p.Last.Problem != "" {
				t.Errorf("the one that is slow was given up: %s", p.Last)
			}
		}
		m.hung.Store(nil)
		m.until("both tables", 10*time.Minute, func() string {
			if n := len(fresh.kernel.keys()); n != 300 {
				return fmt.Sprintf("%d connections", n)
			}
			return ""
		})
	})
}
