package config

import (
	"os"
	"slices"
	"strings"
	"sync"

	"lvsha/ipvs"
)

// Loader loads a file again and again. What it has made of the file before it makes again
// only where the text has changed, or a file with a secret that the text names; and of a
// changed text it reads only the services that have changed, where nothing else has. The
// result is that of Load. It is safe for concurrent use.
type Loader struct {
	path, as string

	mu     sync.Mutex // guards what follows
	before *origin
	last   *loaded
}

// loaded is a valid file.
type loaded struct {
	host string
	rest string
	// services are the texts by name; cfg is what became of all.
	services map[string]string
	cfg      *Config
}

// NewLoader returns a loader of the file at path; as is that of Load.
func NewLoader(path, as string) *Loader { return &Loader{path: path, as: as} }

// Load reads the file as it is now. The error is Problems. The result shares the
// servers of services that have not changed with the one before: it must not be written
// to.
func (l *Loader) Load() (*Config, error) {
	l.mu.Lock() // before the file is read: of two loads the later one has the later text
	defer l.mu.Unlock()
	text, err := readBounded(l.path)
	if err != nil {
		return nil, Problems{{File: l.path, Message: unreadable(err)}}
	}
	host, _ := os.Hostname()
	return l.parse(text, Identity{As: l.as, Hostname: host})
}

// parse is Load of a text. The caller holds mu.
func (l *Loader) parse(text []byte, as Identity) (*Config, error) {
	now := &origin{text: string(text), as: as}
	if l.before != nil && l.before.same(now) {
		return l.before.cfg, nil
	}
	cfg, err := l.parseAnew(text, now)
	if err != nil {
		return nil, err // and the last valid file stays
	}
	now.cfg, l.before = cfg, now
	return cfg, nil
}

func (l *Loader) parseAnew(text []byte, now *origin) (*Config, error) {
	rest, services, ok := parts(now.text)
	if ok && l.last != nil && l.last.host == now.as.Hostname {
		if cfg, ok := l.last.change(l.path, rest, services, now); ok {
			cfg.Hash = hashOf(text)
			l.keep(now.as, rest, services, cfg)
			return cfg, nil
		}
	}
	cfg, err := now.parse(l.path, text)
	if err != nil {
		return nil, err
	}
	l.last = nil
	if ok && lonely(rest, services) && !slices.ContainsFunc(cfg.Services, Service.sociable) {
		l.keep(now.as, rest, services, cfg)
	}
	return cfg, nil
}

func (l *Loader) keep(as Identity, rest string, services []part, cfg *Config) {
	texts := make(map[string]string, len(services))
	for _, p := range services {
		texts[p.name] = p.text
	}
	l.last = &loaded{host: as.Hostname, rest: rest, services: texts, cfg: cfg}
}

// lonely reports whether every service of a file can be read without the others: none
// follows another, is named by anything, has programs to notify, which are read together,
// shares the source addresses of full NAT, or names a file with a secret, which may be
// another one though the text is the same. What else looks at several services at once
// belongs here, or into change.
func lonely(rest string, services []part) bool {
	if mentions(rest) {
		return false
	}
	return !slices.ContainsFunc(services, func(p part) bool {
		return strings.Contains(p.text, "follow") || strings.Contains(p.text, "notify") || strings.Contains(p.text, "fullnat") ||
			strings.Contains(p.text, "_file")
	})
}

// sociable reports whether a service has to be held against the others: its marks and
// source addresses stand for packets that theirs may stand for too.
func (s Service) sociable() bool {
	return len(s.Covers) > 0 || s.translates()
}

// change reads a file of which only services differ from the last one. ok is false when
// all has to be read, as when there is any problem: it must be told with its line.
func (l *loaded) change(path, rest string, services []part, now *origin) (cfg *Config, ok bool) {
	if rest != l.rest {
		return nil, false
	}
	stays := make(map[string]bool, len(services))
	var changed []part
	for _, p := range services {
		if l.services[p.name] == p.text {
			stays[p.name] = true
		} else {
			changed = append(changed, p)
		}
	}
	if len(changed) > len(services)/2 || !lonely(rest, changed) {
		return nil, false
	}
	if len(changed) == 0 && len(services) > 0 {
		// The rest is read anyway: it may name files with keys, which may have changed.
		changed = services[:1]
		delete(stays, services[0].name)
	}
	var text strings.Builder
	text.WriteString(rest)
	for _, p := range changed {
		text.WriteString(p.text)
		text.WriteByte('\n')
	}
	cfg, err := now.parse(path, []byte(text.String()))
	if err != nil || slices.ContainsFunc(cfg.Services, Service.sociable) {
		return nil, false
	}
	taken := make(map[ipvs.ServiceKey]bool)
	for _, s := range cfg.Services {
		for _, listen := range s.Listen {
			taken[listen] = true
		}
	}
	for _, s := range l.cfg.Services {
		if !stays[s.Name] {
			continue
		}
		if slices.ContainsFunc(s.Listen, func(k ipvs.ServiceKey) bool { return taken[k] }) {
			return nil, false
		}
		cfg.Services = append(cfg.Services, s)
	}
	slices.SortFunc(cfg.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	return cfg, true
}

// Same reports whether two services are certainly the same, because they were read from
// the same place of a file once (see Loader).
func (s Service) Same(o Service) bool {
	return len(s.Servers) > 0 && len(s.Servers) == len(o.Servers) && &s.Servers[0] == &o.Servers[0]
}
