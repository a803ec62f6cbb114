package config

// The keys of each section. reference.toml shows every one of them, which a
// test holds.

func rootKeys() []string {
	return []string{"bfd", "director", "group", "health", "ipvs", "manage_sysctls", "notify", "pacing", "peer", "service", "sync", "track", "vrrp"}
}

// directorKeys are a director's own and the sections it may override.
func directorKeys() []string {
	return []string{"address", "bfd", "group", "health", "ipvs", "key", "notify", "pacing", "peer", "priority", "service", "sync", "track", "vrrp"}
}

func routerKeys() []string {
	return []string{
		"absence", "accept", "addresses", "advertise", "announce", "auth", "boot_delay", "checksum", "excluded", "interface", "min_ttl",
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
	return []string{
		"check", "drift", "follow", "forward", "helper", "hysteresis", "initial", "listen", "mark", "max_down", "notify", "on_fail", "one_packet", "owner",
		"panic", "persistence", "persistence_engine", "persistence_mask", "quorum", "require", "scheduler", "scheduler_flags", "server", "slow_start", "snat", "sorry", "tunnel",
	}
}

func serverKeys() []string {
	return []string{"address", "check", "forward", "lower_threshold", "snat", "tunnel", "upper_threshold", "weight"}
}

func sorryKeys() []string {
	return []string{"address", "forward", "lower_threshold", "tunnel", "upper_threshold", "weight"}
}

func tunnelKeys() []string { return []string{"checksum", "port", "type"} }

func peerKeys() []string { return []string{"key_file", "port"} }

func healthKeys() []string { return []string{"doubt", "doubt_weight"} }

// serviceHookKeys are those of notify of a service.
func serviceHookKeys() []string { return []string{"any", "down", "up"} }

func ipvsKeys() []string { return []string{"timeouts"} }

func timeoutsKeys() []string { return []string{"tcp", "tcpfin", "udp"} }

func dampingKeys() []string { return []string{"changes", "hold", "within"} }

func syncKeys() []string {
	return []string{"buffer", "daemons", "gate", "group", "id", "interface", "max_length", "protect", "refresh", "templates_only", "transport", "ttl"}
}

// keepalivedWords are our keys for what keepalived calls otherwise, for those who
// write a file with the old one beside them.
func keepalivedWords() map[string]string {
	return map[string]string{
		"advert_int": "advertise", "authentication": "auth", "auth_pass": "password", "delay_loop": "interval",
		"garp_interval": "gap", "garp_master_delay": "announce", "garp_master_refresh": "announce",
		"garp_master_repeat": "announce", "gna_interval": "gap", "group": "routers", "lb_algo": "scheduler", "lb_kind": "forward", "lvs_method": "forward",
		"lvs_sched": "scheduler", "master": "active", "nopreempt": "takeover", "notify_backup": "notify",
		"notify_fault": "notify", "notify_master": "notify", "notify_stop": "notify", "persistence_timeout": "persistence",
		"preempt": "takeover", "preempt_delay": "takeover", "real_server": "server",
		"ops": "one_packet", "lvs_timeouts": "timeouts", "uthreshold": "upper_threshold", "lthreshold": "lower_threshold", "persistence_granularity": "persistence_mask",
		"connect_port": "port", "delay_before_retry": "fast_interval", "digest": "body_sha256", "misc_dynamic": "dynamic", "misc_timeout": "timeout",
		"nb_get_retry": "fall", "status_code": "status", "sorry_server": "sorry", "quorum_up": "notify", "quorum_down": "notify", "connect_timeout": "timeout", "retry": "fall", "misc_path": "command", "warmup": "jitter", "alpha": "initial", "syncid": "id", "track_file": "track", "track_interface": "track",
		"track_process": "track", "track_script": "track", "unicast_peer": "unicast", "use_vmac": "virtual_mac",
		"virtual_ipaddress": "addresses", "virtual_ipaddress_excluded": "excluded", "virtual_router_id": "vrid",
		"virtual_routes": "routes", "virtual_rules": "rules",
	}
}
