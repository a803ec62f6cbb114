package track

import (
	"fmt"

	"lvsha/healthcheck"
)

// seeFile reads the number at the beginning of a file. Without a weight any number
// but 0 is a condition that does not hold, which makes the file a maintenance
// switch.
func seeFile(c Condition) Report {
	n, there, err := healthcheck.ReadNumber(c.File)
	switch {
	case err != nil:
		return Report{Reason: "reading the number: " + err.Error()}
	case !there:
		return Report{Holds: true, Reason: c.File + " is missing, which counts as 0"}
	}
	return Report{Holds: n == 0, Value: n, Reason: fmt.Sprintf("%s says %d", c.File, n)}
}
