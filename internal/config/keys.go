package config

// The keys of each section. reference.toml shows every one of them, which a
// test holds.

func rootKeys() []string {
	return []string{"bfd", "director", "group", "notify", "pacing", "service", "sync", "track", "vrrp"}
}

// directorKeys are a director's own and the sections it may override.
func directorKeys() []string {
	return []string{"address", "bfd", "group", "notify", "pacing", "priority", "service", "sync", "track", "vrrp"}
}

func routerKeys() []string {
	return []string{
		"accept", "addresses", "advertise", "announce", "auth", "boot_delay", "checksum", "excluded", "interface", "min_ttl",
		"notify", "priority", "routes", "rules", "start_delay", "takeover", "track", "unicast", "version", "virtual_mac", "vrid",
	}
}

func announceKeys() []string { return []string{"again", "count", "refresh"} }

func groupKeys() []string { return []string{"notify", "routers", "track"} }

func pacingKeys() []string { return []string{"gap", "interfaces"} }

// unicastKeys are those of a peer that is a table.
func unicastKeys() []string { return []string{"address", "checksum"} }

func authKeys() []string {
	return []string{"keys", "mode", "password", "password_file", "replay", "send", "window"}
}

func authKeyKeys() []string { return []string{"file", "hex", "id"} }

func serviceKeys() []string {
	return []string{"check", "forward", "listen", "owner", "persistence", "persistence_mask", "require", "scheduler", "server", "sorry"}
}

func serverKeys() []string { return []string{"address", "check", "forward", "weight"} }

func sorryKeys() []string { return []string{"address", "forward", "weight"} }

func syncKeys() []string { return []string{"id", "interface"} }

// checkKeys are the keys of a check, with the types that have them; none means
// all types.
func checkKeys() map[string][]string {
	web := []string{"http", "https"}
	return map[string][]string{
		"type": nil, "port": {"exec", "http", "https", "tcp"}, "interval": nil, "timeout": nil, "rise": nil, "fall": nil,
		"method": web, "path": web, "host": web, "status": web, "body": web,
		"insecure": {"https"},
		"command":  {"exec"}, "user": {"exec"},
	}
}
