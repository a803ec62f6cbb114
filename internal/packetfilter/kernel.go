package packetfilter

import "errors"

// Kernel is where the tables are. One goroutine at a time uses it.
type Kernel interface {
	// Same reports whether lvsha's tables are those, and there are no others of its.
	// It costs little when these very tables are asked for again and nothing has changed
	// since it was so the last time; so nobody may write to them afterwards.
	Same(tables []Table) (bool, error)
	// Replace makes lvsha's tables those, in one transaction. With none it removes
	// them.
	Replace(tables []Table) error
	// Close gives up the connection to the kernel, not the tables.
	Close() error
}

// ErrNoNftables says that the kernel has no nftables, at least not now.
var ErrNoNftables = errors.New("nftables is not in this kernel: modprobe nf_tables")
