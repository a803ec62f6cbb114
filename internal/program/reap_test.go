package program_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/program"
)

// TestReap: what comes to process 1 of a PID namespace, and to a child subreaper, is
// buried, and none of what was started is taken from who waits for it. Without Reap the
// same leaves hundreds of zombies.
func TestReap(t *testing.T) {
	for name, attr := range map[string]*syscall.SysProcAttr{
		"process 1": {Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS},
		"subreaper": nil,
	} {
		for _, scene := range []string{"reaped", "unreaped", "crowded", "starting", "waiting"} {
			t.Run(name+", "+scene, func(t *testing.T) { played(t, scene, attr, nil) })
		}
	}
}

// TestReapNobody: a process that nothing comes to has nothing to wait for.
func TestReapNobody(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := program.Reap(ctx); err != nil || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
}
