package config

import (
	"maps"
	"slices"
	"strings"
	"time"

	"lvsha/internal/notify"
)

const (
	defaultNotifyTimeout = 10 * time.Second
	minNotifyTimeout     = 100 * time.Millisecond
	maxNotifyTimeout     = time.Hour
)

// notify reads [notify], and notify of each virtual router, sync group and service. Where
// nobody is told the result is zero.
func (r *report) notify(n *node, routers []router, groups []group, services *node) notify.Config {
	out := notify.Config{Timeout: defaultNotifyTimeout}
	if n != nil {
		if s, ok := r.section(n, notifyKeys()); ok {
			out.Common = s.command("command")
			out.Timeout = s.duration("timeout", defaultNotifyTimeout, minNotifyTimeout, maxNotifyTimeout, 1)
			if v, ok := s.text("user"); ok {
				if !validUser(v) {
					s.bad("user", "want the name of a user, got %q", v)
				}
				s.userHere("user", v)
				out.User = v
			}
			if v, ok := s.text("fifo"); ok {
				if !strings.HasPrefix(v, "/") || strings.ContainsRune(v, 0) {
					s.bad("fifo", "want an absolute path such as \"/run/lvsha/notify.fifo\", got %q", v)
				}
				s.directoryHere("fifo", v)
				out.FIFO = v
			}
		}
	}
	add := func(kind notify.Kind, name string, of *node, states map[string]notify.State) {
		t, _ := of.value.(table)
		if t["notify"] == nil {
			return
		}
		if out.Hooks == nil {
			out.Hooks = make(map[notify.Object]notify.Hooks)
		}
		out.Hooks[notify.Object{Kind: kind, Name: name}] = r.hooks(t["notify"], states)
	}
	moves := map[string]notify.State{
		"active": notify.Active, "backup": notify.Backup, "fault": notify.Fault, "stop": notify.Stopped,
	}
	for _, rt := range routers {
		add(notify.Router, rt.Name, rt.node, moves)
	}
	for _, g := range groups {
		add(notify.Group, g.Name, g.node, moves)
	}
	for _, c := range services.children() {
		add(notify.Service, c.name, c.node, map[string]notify.State{"up": notify.Up, "down": notify.Down})
	}
	if n == nil && out.Hooks == nil {
		return notify.Config{}
	}
	return out
}

// hooks reads the programs of one object.
func (r *report) hooks(n *node, states map[string]notify.State) (out notify.Hooks) {
	s, ok := r.section(n, append(slices.Sorted(maps.Keys(states)), "any"))
	if !ok {
		return out
	}
	out.Any = s.command("any")
	for key, state := range states {
		if c := s.command(key); c != nil {
			if out.On == nil {
				out.On = make(map[notify.State]notify.Command)
			}
			out.On[state] = c
		}
	}
	return out
}

// command is a program with its arguments: a list, or one string that is split
// into words.
func (s section) command(key string) notify.Command {
	n, ok := s.keys[key]
	if !ok {
		return nil
	}
	var out notify.Command
	switch v := n.value.(type) {
	case string:
		words, err := notify.Split(v)
		if err != nil {
			s.at(n, "want a program and its arguments such as \"/etc/keepalived/notify.sh web\": %v in %q", err, v)
			return nil
		}
		out = words
	case []*node:
		for _, item := range v {
			word, ok := s.textOf(item)
			if !ok {
				return nil
			}
			out = append(out, word)
		}
	}
	if len(out) == 0 {
		s.at(n, "want a program and its arguments such as [\"/etc/keepalived/notify.sh\", \"web\"]")
		return nil
	}
	for _, word := range out {
		if strings.ContainsRune(word, 0) {
			s.at(n, "an argument cannot contain NUL")
			return nil
		}
	}
	if !strings.HasPrefix(out[0], "/") {
		s.at(n, "want the program's absolute path, got %q", out[0])
	} else {
		s.programHere(n, out[0])
	}
	return out
}

func notifyKeys() []string { return []string{"command", "fifo", "timeout", "user"} }

func hookKeys() []string { return []string{"active", "any", "backup", "fault", "stop"} }
