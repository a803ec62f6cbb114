package healthcheck_test

import (
	"fmt"

	"lvsha/healthcheck"
)

// A server with a web check and a database check, of which one has to pass.
func ExampleRequire_Combine() {
	verdicts := []healthcheck.Verdict{
		{State: healthcheck.Up, Reason: "status 200"},
		{State: healthcheck.Down, Reason: "exit status 2: replica is 40 s behind"},
	}
	for _, require := range []healthcheck.Require{healthcheck.RequireAny, healthcheck.RequireAll} {
		v := require.Combine(verdicts)
		fmt.Printf("%v: %s\n", v.State, v.Reason)
	}
	// Output:
	// up: 1 of 2 checks up, want any: status 200
	// down: 1 of 2 checks up, want all: exit status 2: replica is 40 s behind
}
