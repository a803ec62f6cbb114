package connsync

// Role is the part a kernel sync daemon plays.
type Role uint8

const (
	_ Role = iota
	// Master sends this director's connections (IP_VS_STATE_MASTER, 1).
	Master
	// Backup receives the other directors' (IP_VS_STATE_BACKUP, 2).
	Backup
)

// Daemon is one of the two kernel sync daemons of a network namespace.
type Daemon struct {
	Role Role
	// Interface carries the multicast.
	Interface string
	// ID is the sync group, 1 to 255. All directors of a group use one.
	ID uint8
}

// Config is what the operator wants of connection synchronisation.
type Config struct {
	Interface string
	ID        uint8
}
