package ipvs

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonic returns CLOCK_MONOTONIC, which other processes read too, so that
// their times can be set against those of a log.
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("ipvs: reading the monotonic clock: " + err.Error())
	}
	return time.Duration(ts.Nano())
}
