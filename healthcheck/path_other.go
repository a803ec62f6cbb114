//go:build !linux

package healthcheck

import (
	"fmt"
	"syscall"
	"time"
)

// control fails: firewall marks are Linux's.
func (p Path) control(_, _ string, _ syscall.RawConn) error {
	return fmt.Errorf("%w: this system has no firewall marks", ErrInconclusive)
}

// uptime is the wall clock's.
func uptime() time.Duration { return time.Duration(time.Now().UnixNano()) }
