package config

import (
	"maps"
	"slices"

	"github.com/BurntSushi/toml"
)

// KnownKeys are the paths of all keys, with NAME for the operator's names.
func KnownKeys() []string {
	var out []string
	add := func(prefix string, keys []string) {
		for _, k := range keys {
			out = append(out, prefix+k)
		}
	}
	add("", rootKeys())
	add("director.NAME.", directorKeys())
	add("vrrp.NAME.", routerKeys())
	add("vrrp.NAME.announce.", announceKeys())
	add("vrrp.NAME.track.", trackUseKeys())
	add("group.NAME.", groupKeys())
	for _, k := range slices.Sorted(maps.Keys(trackKeys())) {
		// What a check asks is documented with the checks of services.
		if _, asked := checkKeys()[k]; !asked {
			add("track.NAME.", []string{k})
		}
	}
	add("vrrp.NAME.unicast.", unicastKeys())
	add("vrrp.NAME.auth.", authKeys())
	add("vrrp.NAME.auth.keys.", authKeyKeys())
	add("service.NAME.", serviceKeys())
	add("service.NAME.server.", serverKeys())
	add("service.NAME.sorry.", sorryKeys())
	add("service.NAME.tunnel.", tunnelKeys())
	add("service.NAME.check.", slices.Sorted(maps.Keys(checkKeys())))
	add("vrrp.NAME.notify.", hookKeys())
	add("group.NAME.notify.", hookKeys())
	add("service.NAME.notify.", serviceHookKeys())
	add("service.NAME.check.damping.", dampingKeys())
	add("health.", healthKeys())
	add("pacing.NAME.", pacingKeys())
	add("bfd.", bfdKeys())
	add("notify.", notifyKeys())
	add("peer.", peerKeys())
	add("sync.", syncKeys())
	return slices.DeleteFunc(out, func(k string) bool { return slices.Contains(rootKeys(), k) && !slices.Contains(singular(), k) })
}

// IndexKeys are the keys that the line index finds in a text.
func IndexKeys(text string) []toml.Key {
	var out []toml.Key
	for _, k := range indexLines(text).keys {
		out = append(out, k.key)
	}
	return out
}

// IndexLine is the line of a path; 0 when it is not in the text.
func IndexLine(text, p string) int { return indexLines(text).lines[path(p)] }

// ParseReading is Parse with another way to read the files with secrets.
func ParseReading(name string, text []byte, as Identity, read func(name string) ([]byte, error)) (*Config, error) {
	return parseReading(name, text, as, read)
}

// ParseFor is Load of a text, as a director; partial says that only what
// had changed was read.
func (l *Loader) ParseFor(text string, as Identity) (cfg *Config, partial bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.last
	cfg, err = l.parse([]byte(text), as)
	if cfg != nil && before != nil {
		for _, s := range cfg.Services {
			for _, o := range before.cfg.Services {
				partial = partial || s.Same(o)
			}
		}
	}
	return cfg, partial, err
}
