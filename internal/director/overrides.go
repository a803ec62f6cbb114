package director

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"lvsha/ipvs"
	"lvsha/vrrp"
)

// overrides are what operators asked for beside the file. They survive restarts
// and reboots.
type overrides struct {
	Yields  []keptYield  `json:"yields,omitempty"`
	Servers []keptServer `json:"servers,omitempty"`
}

// keptServer is what operators asked for of one server of one service. It goes by the
// kernel's keys, so that another name in the file loses nothing; but a mark that is made of
// the name is another one then.
type keptServer struct {
	Service ipvs.ServiceKey `json:"service"`
	Server  netip.AddrPort  `json:"server"`
	Drain   *keptDrain      `json:"drain,omitempty"`
	Weight  *keptWeight     `json:"weight,omitempty"`
}

// keptDrain is a drain, under way or done.
type keptDrain struct {
	Since time.Time `json:"since"`
	// Until is when it is done whatever connections there are; zero is never.
	Until time.Time `json:"until,omitzero"`
	// Done is when it was, Left how many connections there still were, and Failed whether
	// the server failed its checks then.
	Done   time.Time `json:"done,omitzero"`
	Left   int       `json:"left,omitempty"`
	Failed bool      `json:"failed,omitempty"`
}

// keptWeight stands in place of the weight in the file.
type keptWeight struct {
	Weight int       `json:"weight"`
	Since  time.Time `json:"since"`
	// Until is when it ends by itself; zero is never.
	Until time.Time `json:"until,omitzero"`
}

// keptYield is a virtual router that yields.
type keptYield struct {
	Name string   `json:"name"`
	Key  vrrp.Key `json:"key"`
	// Until is when it ends by itself; zero is never.
	Until time.Time `json:"until,omitzero"`
}

// overrideStore keeps the overrides in a file that is replaced whole. The disk may take its
// time, or hang: a goroutine waits for it, and others wait for that no longer than patience.
type overrideStore struct {
	path string
	// replace is how the file is replaced.
	replace func(path, text string) error

	mu   sync.Mutex // guards all below; it is not held while the disk is waited for
	kept overrides
	// wanted is the text of kept, written the file's, and failed why it is not that of kept.
	wanted, written string
	failed          error
	// writing is closed when what writes has ended; nil is nobody. slow says that it has
	// been waited for in vain.
	writing chan struct{}
	slow    bool
}

// patience is for how long the disk is waited for.
const patience = 2 * time.Second

// errSlow is the error of a disk that takes longer.
var errSlow = fmt.Errorf("writing the operators' overrides: the disk has not taken them within %v", patience)

// openOverrides reads the overrides in a directory, which need not exist. An error
// is about a file that cannot be read; the store works all the same. A file that makes no
// sense is put aside, with ".bad" behind its name, so that the next change does not lose it.
func openOverrides(dir string) (*overrideStore, error) {
	s := &overrideStore{path: filepath.Join(dir, "overrides.json"), replace: replaceInDirectory}
	data, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("reading the operators' overrides: %w", err)
	}
	if s.kept, err = parseOverrides(data); err != nil {
		if failed := replace(s.path, s.path+".bad"); failed != nil {
			return s, fmt.Errorf("reading the operators' overrides in %s: %w", s.path, errors.Join(err, failed))
		}
		return s, fmt.Errorf("reading the operators' overrides, which are put aside in %s.bad: %w", s.path, err)
	}
	s.wanted, s.written = string(data), string(data)
	return s, nil
}

// parseOverrides reads the overrides, which somebody may have edited by hand. What asks for
// nothing is left out.
func parseOverrides(data []byte) (overrides, error) {
	var o overrides
	if err := json.Unmarshal(data, &o); err != nil {
		return overrides{}, err
	}
	for _, s := range o.Servers {
		if w := s.Weight; w != nil && (w.Weight < 0 || w.Weight > ipvs.MaxWeight) {
			return overrides{}, fmt.Errorf("weight %d of server %s is not between 0 and %d", w.Weight, s.Server, ipvs.MaxWeight)
		}
	}
	o.Servers = slices.DeleteFunc(o.Servers, func(s keptServer) bool { return s.Drain == nil && s.Weight == nil })
	return o, nil
}

func (s *overrideStore) read() overrides {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept
}

// update changes the overrides and writes them, if they are others now. They hold in
// this process although they cannot be written.
func (s *overrideStore) update(change func(*overrides)) error {
	s.mu.Lock()
	change(&s.kept)
	writing := s.begin()
	slow := s.slow
	s.mu.Unlock()
	if writing != nil && !slow {
		s.await(writing, patience)
	}
	return s.unwritten()
}

// unwritten is why the next process would not know of the overrides; nil when it would.
func (s *overrideStore) unwritten() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// retry has written again what could not be written, and does not wait for that.
func (s *overrideStore) retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		s.begin()
	}
}

// settle waits for what writes, but not for longer than that.
func (s *overrideStore) settle(longest time.Duration) {
	s.mu.Lock()
	writing := s.writing
	s.mu.Unlock()
	if writing != nil {
		s.await(writing, longest)
	}
}

// await waits for what writes, but not for longer than that.
func (s *overrideStore) await(writing <-chan struct{}, longest time.Duration) {
	late := time.NewTimer(longest)
	defer late.Stop()
	select {
	case <-writing:
		return
	case <-late.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing == writing {
		s.slow, s.failed = true, errSlow
	}
}

// begin has the file replaced, if it is to say something else, and returns what is closed
// when that has ended; nil when there is nothing to do. The caller holds mu.
func (s *overrideStore) begin() <-chan struct{} {
	data, err := json.MarshalIndent(s.kept, "", "  ")
	if err != nil {
		s.failed = fmt.Errorf("encoding the operators' overrides: %w", err)
		return nil
	}
	s.wanted = string(data) + "\n"
	if s.writing != nil {
		return s.writing // it goes on with this
	}
	if s.wanted == s.written || s.written == "" && s.wanted == "{}\n" {
		s.failed = nil
		return nil
	}
	s.writing = make(chan struct{})
	go s.write()
	return s.writing
}

// write replaces the file until it says what is wanted, or cannot be replaced.
func (s *overrideStore) write() {
	for {
		s.mu.Lock()
		text := s.wanted
		s.mu.Unlock()
		err := s.replace(s.path, text)
		s.mu.Lock()
		if err == nil {
			s.written = text
		}
		if s.wanted == text {
			s.slow, s.failed = false, nil
			if err != nil {
				s.failed = fmt.Errorf("writing the operators' overrides: %w", err)
			}
			close(s.writing)
			s.writing = nil
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// replaceInDirectory is replaceSynced in a directory that need not exist.
func replaceInDirectory(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return replaceSynced(path, text)
}

// replaceSynced replaces a file whole, so that it survives a power cut.
func replaceSynced(path, text string) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return replace(path+".new", path)
}

// replace gives a file another name in its directory, so that it survives a power cut.
func replace(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
