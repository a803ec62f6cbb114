package healthcheck

import (
	"errors"
)

// BFD is satisfied while there is a BFD session with the server (RFC 5880).
// Somebody else runs the session: a Monitor is told by Options.Prepare what to ask.
type BFD struct{}

var _ Question = BFD{}

// Kind is "bfd".
func (BFD) Kind() string { return "bfd" }

// String is empty.
func (BFD) String() string { return "" }

// Prepare fails: nobody runs sessions here.
func (BFD) Prepare() (ProbeFunc, error) { return nil, errors.New("nobody runs BFD sessions here") }
