package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"lvsha/healthcheck"
)

// The bounds of a check's pace.
const (
	minCheckInterval = 100 * time.Millisecond
	maxCheckInterval = time.Hour
	minCheckTimeout  = 10 * time.Millisecond
	maxCheckCount    = 100
)

// checks reads check of a service or a server: a table or an array of tables.
func (r *report) checks(s section) []healthcheck.Check {
	var out []healthcheck.Check
	for _, n := range s.list("check") {
		before := len(r.problems)
		c, ok := r.check(n)
		if !ok {
			continue
		}
		if len(r.problems) == before && slices.Contains(out, c) {
			r.at(n, "is the same as a check before it")
			continue
		}
		out = append(out, c)
	}
	return out
}

func (r *report) check(n *node) (healthcheck.Check, bool) {
	known := checkKeys()
	s, ok := r.section(n, slices.Sorted(maps.Keys(known)))
	if !ok {
		return healthcheck.Check{}, false
	}
	types := healthcheck.Kinds()
	if s.missing("type", "want "+oneOf(types)) {
		return healthcheck.Check{}, false
	}
	kind, ok := s.text("type")
	if !ok {
		return healthcheck.Check{}, false
	}
	if !slices.Contains(types, kind) {
		s.bad("type", "want %s, got %q%s", oneOf(types), kind, didYouMean(kind, types))
		return healthcheck.Check{}, false
	}
	for _, name := range s.keys.names() {
		if only := known[name]; len(only) > 0 && !slices.Contains(only, kind) {
			s.bad(name, "is for checks of type %s, and this one is %q", oneOf(only), kind)
		}
	}
	return r.checkOf(s, kind), true
}

// checkOf reads the keys of a check of a kind.
func (r *report) checkOf(s section, kind string) healthcheck.Check {
	c := healthcheck.Check{
		Kind: kind,
		Port: uint16(s.number("port", 0, 1, 65535)),
		Rise: s.number("rise", healthcheck.DefaultRise, 1, maxCheckCount),
		Fall: s.number("fall", healthcheck.DefaultFall, 1, maxCheckCount),
	}
	c.Interval = s.duration("interval", healthcheck.DefaultInterval, minCheckInterval, maxCheckInterval, 1)
	c.Timeout = s.duration("timeout", min(healthcheck.DefaultTimeout, c.Interval), minCheckTimeout, maxCheckInterval, 1)
	if c.Timeout > c.Interval {
		s.bad("timeout", "%s is longer than the interval of %s, and a probe never overlaps the next", brief(c.Timeout), brief(c.Interval))
	}
	switch kind {
	case healthcheck.KindHTTP, healthcheck.KindHTTPS:
		r.web(s, &c)
	case healthcheck.KindExec:
		r.exec(s, &c)
	}
	return c
}

// web reads the keys of http and https.
func (r *report) web(s section, c *healthcheck.Check) {
	c.Method, c.Path, c.Status = healthcheck.DefaultMethod, healthcheck.DefaultPath, healthcheck.DefaultStatus
	if v, ok := s.text("method"); ok {
		if v == "" || strings.ContainsFunc(v, func(r rune) bool { return r < 'A' || r > 'Z' }) {
			s.bad("method", "want a method in capitals such as \"GET\" or \"HEAD\", got %q", v)
		}
		c.Method = v
	}
	if v, ok := s.text("path"); ok {
		if !strings.HasPrefix(v, "/") || strings.ContainsFunc(v, notInRequest) {
			s.bad("path", "want a path that starts with / and has no blanks, such as \"/healthz\", got %q", v)
		}
		c.Path = v
	}
	if v, ok := s.text("host"); ok {
		if v == "" || strings.ContainsFunc(v, notInRequest) || strings.Contains(v, "/") {
			s.bad("host", "want a host name such as \"www.example.com\", got %q", v)
		}
		c.Host = v
	}
	if n := s.keys["status"]; n != nil {
		// status = 200 is what everybody writes first.
		text, isText := n.value.(string)
		if number, ok := n.value.(int64); ok {
			text, isText = strconv.FormatInt(number, 10), true
		}
		if set, err := healthcheck.ParseStatus(text); !isText || text == "" || err != nil {
			s.bad("status", "want codes and ranges from 100 to 599 such as \"200-299,304\"")
		} else {
			c.Status = set.String()
		}
	}
	if v, ok := s.text("body"); ok {
		if v == "" || len(v) > healthcheck.MaxBodyText {
			s.bad("body", "want a text of 1 to %d bytes", healthcheck.MaxBodyText)
		}
		c.Body = v
	}
	c.Insecure = s.flag("insecure")
	if c.Body != "" && c.Method == "HEAD" {
		s.bad("body", "an answer to HEAD has no body")
	}
}

// notInRequest are the characters that would end a line or a word of a request.
func notInRequest(r rune) bool { return r <= ' ' || r == 0x7f }

// exec reads the keys of exec.
func (r *report) exec(s section, c *healthcheck.Check) {
	if s.missing("command", "the program and its arguments, such as [\"/usr/local/lib/lvsha/check-db\", \"replica\"]") {
		return
	}
	n := s.keys["command"]
	items, ok := n.value.([]*node)
	if !ok || len(items) == 0 {
		r.at(n, "want a list of the program and its arguments such as [\"/usr/local/lib/lvsha/check-db\", \"replica\"]; there is no shell")
		return
	}
	argv := make([]string, 0, len(items))
	for _, item := range items {
		v, ok := r.textOf(item)
		if !ok {
			return
		}
		if strings.ContainsRune(v, 0) {
			r.at(item, "an argument cannot contain NUL")
			return
		}
		argv = append(argv, v)
	}
	if !strings.HasPrefix(argv[0], "/") {
		r.at(items[0], "want the program's absolute path, got %q", argv[0])
	}
	c.Command = healthcheck.JoinCommand(argv)
	if v, ok := s.text("user"); ok {
		if v == "" || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == ':' }) {
			s.bad("user", "want the name of a user, got %q", v)
		}
		c.User = v
	}
}
