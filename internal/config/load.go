package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"lvsha/internal/bfd"
	"lvsha/internal/notify"
	"lvsha/internal/track"
	"lvsha/ipvs"
	connsync "lvsha/sync"
	"lvsha/vrrp"
)

// Load reads the file at path for this machine. As is the director's name when
// the operator gave one, else the host name decides. The error is Problems.
func Load(path, as string) (*Config, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, Problems{{File: path, Message: unreadable(err)}}
	}
	// Without a host name the problem is that no director matches, and says so.
	host, _ := os.Hostname()
	return Parse(path, text, Identity{As: as, Hostname: host})
}

// Check is Load for a person who looks: advice is what is not wrong, and will hardly do
// what was meant. The error is Problems.
func Check(path, as string) (cfg *Config, advice Problems, err error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, nil, Problems{{File: path, Message: unreadable(err)}}
	}
	host, _ := os.Hostname()
	id := Identity{As: as, Hostname: host, looks: true}
	if cfg, err = parseReading(path, text, id, ReadSecret); err != nil {
		return nil, nil, err
	}
	// Once more, with places, which nothing else needs of a valid file.
	_, said, problems := parseWith(string(text), id, ReadSecret, decodeWithPlaces)
	if len(problems) > 0 {
		return nil, nil, problems.sorted()
	}
	advice = append(said.advice, said.readable(path)...)
	for i := range advice {
		advice[i].File = path
	}
	return cfg, advice.sorted(), nil
}

// remarks are what is said of a valid file.
type remarks struct {
	advice  Problems
	secrets []*node
}

// readable is advice about secrets that stand in a file which others can read.
func (r remarks) readable(path string) Problems {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o044 == 0 || len(r.secrets) == 0 {
		return nil
	}
	first := r.secrets[0]
	return Problems{{Line: first.line, Key: string(first.path),
		Message: fmt.Sprintf("this is a secret, and others on this machine can read the file (mode %04o); do: chmod 600 %s", info.Mode().Perm(), path)}}
}

// decodeWithPlaces is decode with places.
func decodeWithPlaces(text string) (*node, error) { return decode(text, true) }

// LoadForServer reads the file at path on a real server. The error is Problems.
func LoadForServer(path string) (*Config, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, Problems{{File: path, Message: unreadable(err)}}
	}
	return Parse(path, text, Identity{Server: true})
}

// unreadable is a sentence about a file that cannot be read.
func unreadable(err error) string {
	var why *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file; name another with -c FILE"
	case errors.Is(err, fs.ErrPermission):
		return "this user may not read the file"
	case errors.As(err, &why):
		return "the file cannot be read: " + why.Err.Error()
	}
	return "the file cannot be read: " + err.Error()
}

// Parse reads a text under the name of its file, and the files with keys that it
// names for this machine. The error is Problems.
func Parse(name string, text []byte, as Identity) (*Config, error) {
	read := ReadSecret
	if as.Server {
		read = nil
	}
	return parseReading(name, text, as, read)
}

// parseReading is Parse with a way to read the files with secrets.
func parseReading(name string, text []byte, as Identity, read func(name string) ([]byte, error)) (*Config, error) {
	cfg, problems := parse(string(text), as, read)
	if len(problems) > 0 {
		for i := range problems {
			problems[i].File = name
		}
		return nil, problems.sorted()
	}
	cfg.File, cfg.Hash = name, hashOf(text)
	return cfg, nil
}

// parse reads a text. Where everything has its place is asked for only when something is
// wrong with it: to know it costs as much as all the rest.
func parse(text string, as Identity, read func(name string) ([]byte, error)) (*Config, Problems) {
	if line, why := unbounded(text); why != "" {
		return nil, Problems{{Line: line, Message: why}}
	}
	cfg, _, problems := parseWith(text, as, read, decodeLarge)
	if len(problems) > 0 {
		cfg, _, problems = parseWith(text, as, read, decodeWithPlaces)
	}
	return cfg, problems
}

func parseWith(text string, as Identity, read func(name string) ([]byte, error), decode func(string) (*node, error)) (*Config, remarks, Problems) {
	root, err := decode(text)
	if err != nil {
		return nil, remarks{}, Problems{syntaxProblem(text, err)}
	}
	r := &report{}
	top, _ := r.section(root, rootKeys())
	if len(top.keys["vrrp"].children()) == 0 && len(top.keys["service"].children()) == 0 && top.keys["sync"] == nil {
		// Taking it for "remove everything" would make a copy that was cut short
		// an outage.
		r.add(0, "", "the file has no vrrp, service or sync section: there is nothing to do")
		return nil, remarks{}, r.problems
	}
	manage := top.flag("manage_sysctls")
	directors := r.directors(top)
	own := 0
	if !as.Server || len(directors) == 0 {
		own = r.choose(top, directors, as)
	}

	// One view without directors, else one for each.
	views := directors
	if len(views) == 0 {
		views = []director{{}}
	}
	drafts := make([]*draft, len(views))
	found := make([]Problems, len(views))
	var said remarks
	for i, d := range views {
		view := &report{cluster: directors, self: d.Name}
		if i == own {
			// The files of the others are on their machines.
			view.read, view.looks = read, as.looks
		}
		drafts[i] = view.draft(d.view(root), d)
		found[i] = view.problems.sorted()
		if i == own {
			said = remarks{view.advice, view.secrets}
		}
	}
	r.problems = append(r.problems, merge(views, found)...)
	r.pair(directors, drafts)
	r.rivals(directors, drafts)
	r.sameMarks(directors, drafts)
	if len(r.problems) > 0 {
		return nil, remarks{}, r.problems
	}
	cfg := assemble(directors, drafts, own)
	cfg.ManageSysctls = manage
	if len(directors) > 0 {
		cfg.Channel = drafts[own].channel.open(directors[own].Director, read)
	}
	return cfg, said, nil
}

// merge joins the problems of all views; one that not every director has names
// those that have it.
func merge(views []director, found []Problems) Problems {
	who := make(map[Problem][]string)
	for i, problems := range found {
		for _, p := range problems {
			who[p] = append(who[p], views[i].Name)
		}
	}
	var out Problems
	for p, names := range who {
		if len(names) < len(views) && !strings.HasPrefix(p.Key, "director.") {
			p.Message += fmt.Sprintf(" (on director %s)", strings.Join(names, ", "))
		}
		out = append(out, p)
	}
	return out
}

// draft is the file as one director sees it.
type draft struct {
	routers  []router
	services []Service
	sync     *connsync.Config
	bfd      *bfd.Params
	notify   notify.Config
	channel  channel
	health   Health
	timeouts ipvs.Timeouts
	// protection is nil without one.
	protection *Protection
	pacing     []vrrp.Pacing
	// conditions, and the groups that may use them.
	conditions []condition
	groups     []group
}

func (r *report) draft(root *node, d director) *draft {
	top, _ := root.value.(table)
	out := &draft{}
	out.routers = r.routers(top["vrrp"], d)
	out.services = r.services(top["service"], out.routers)
	out.sync = r.sync(top["sync"])
	out.protection = r.protection(top["sync"], out.sync, d)
	r.unsynced(top["sync"], out.services)
	out.conditions = r.conditions(top["track"], out.services)
	for i := range out.routers {
		rt := &out.routers[i]
		if t, ok := rt.node.value.(table); ok {
			rt.tracks = r.tracks(section{report: r, node: rt.node, keys: t}, out.conditions)
		}
	}
	out.groups = r.groups(top["group"], out.routers, out.conditions)
	moves := newMoves(out.routers, out.groups)
	r.undivided(out.services, moves)
	r.translated(moves)
	out.pacing = r.pacing(top["pacing"], out.routers)
	out.bfd = r.bfd(top["bfd"])
	out.channel = r.channel(top["peer"])
	out.health = r.health(top["health"])
	out.timeouts = r.timeouts(top["ipvs"])
	r.sessions(out.services, out.bfd, top["service"])
	out.notify = r.notify(top["notify"], out.routers, out.groups, top["service"])
	for _, rt := range out.routers {
		r.ownersTrack(rt, rt.tracks)
	}
	for _, g := range out.groups {
		for _, i := range g.routers {
			r.ownersTrack(out.routers[i], g.tracks)
		}
	}
	return out
}

// assemble makes the configuration of one director of a valid file.
func assemble(directors []director, drafts []*draft, own int) *Config {
	mine := drafts[own]
	cfg := &Config{Services: mine.services, Sync: mine.sync, BFD: mine.bfd, Health: mine.health, Timeouts: mine.timeouts, Protection: mine.protection, Notify: mine.notify, Pacing: mine.pacing, Tracks: make(map[vrrp.Key][]track.Ref)}
	for _, c := range mine.conditions {
		cfg.Conditions = append(cfg.Conditions, c.Condition)
	}
	for _, g := range mine.groups {
		cfg.Groups = append(cfg.Groups, g.GroupConfig)
	}
	for i, d := range directors {
		d.Port = drafts[i].channel.port
		cfg.Directors = append(cfg.Directors, d.Director)
	}
	if len(directors) > 0 {
		cfg.Director = directors[own].Name
	}
	for _, rt := range mine.routers {
		rt.Peers, rt.Unicast = peers(directors, drafts, own, rt)
		rt.Source = rt.source()
		cfg.Routers = append(cfg.Routers, rt.Config)
		if refs := trackRefs(rt, mine); len(refs) > 0 {
			cfg.Tracks[rt.Key()] = refs
		}
	}
	return cfg
}

// iface reads the name of an interface, which the kernel bounds to 15 bytes
// without blank, slash or colon.
func (s section) iface(key, what string) string {
	if s.missing(key, what) {
		return ""
	}
	v, ok := s.text(key)
	if ok && !validInterface(v) {
		s.bad(key, "want the name of an interface such as \"eth0\", got %q", v)
	}
	return v
}

func validInterface(name string) bool {
	return name != "" && len(name) <= 15 && name != "." && name != ".." &&
		!strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r == ':' || r == 0x7f || r > 0x7f })
}

// children are the keys and values of a table, sorted by key; none for anything
// else.
func (n *node) children() []child {
	if n == nil {
		return nil
	}
	t, _ := n.value.(table)
	out := make([]child, 0, len(t))
	for _, name := range t.names() {
		out = append(out, child{name, t[name]})
	}
	return out
}

type child struct {
	name string
	node *node
}

// named are the sections below [vrrp], [service] or [director], whose names the
// operator chose, in the order of the file: of two that collide the later one is
// the problem.
func (r *report) named(n *node, what string) []child {
	if n == nil {
		return nil
	}
	if _, ok := n.value.(table); !ok {
		r.at(n, "want a table with one table for each %s, got %s", what, typeName(n.value))
		return nil
	}
	sections := n.children()
	slices.SortStableFunc(sections, func(a, b child) int { return cmp.Compare(a.node.line, b.node.line) })
	return slices.DeleteFunc(sections, func(c child) bool {
		if !validName(c.name) {
			r.at(c.node, "want a name of letters, digits, '.', '_' and '-', 63 at most, got %q", c.name)
			return true
		}
		if _, ok := c.node.value.(table); !ok {
			r.at(c.node, "want a table, [%s], got %s", c.node.path, typeName(c.node.value))
			return true
		}
		return false
	})
}

// validName bounds names to what goes into a command line, a log and a URL
// without quoting.
func validName(s string) bool {
	return s != "" && len(s) <= 63 && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool { return !bareKey(r) && r != '.' })
}
