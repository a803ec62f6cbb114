package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"lvsha/internal/lab"
)

// ErrBroken is returned when a promise was not kept.
var ErrBroken = errors.New("not every promise was kept")

// InsideCommand is the word after lvsha that runs the story inside the
// emulated machine.
const InsideCommand = "demo-inside"

// Run shows the demo, on this kernel if it has IPVS, else inside a machine.
func Run(ctx context.Context, w io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("the demo makes network namespaces: run it as root")
	}
	if lab.HostHasIPVS() {
		fmt.Fprintln(w, "This kernel has IPVS: the demo uses it, in network namespaces of its own.")
		return Story(ctx, w, 0)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	fmt.Fprintln(w, "This kernel has no IPVS: the demo boots Debian's stock kernel in an emulator, which takes some seconds.")
	m := lab.Machine{
		Command: []string{self, InsideCommand},
		Files:   map[string]string{self: self},
	}
	code, err := m.Run(ctx, w)
	if err != nil {
		return err
	}
	if code != 0 {
		return ErrBroken
	}
	return nil
}

// EmulationSlack is what a timed promise is given inside the emulated machine,
// where everything takes about ten times as long.
const EmulationSlack = 30 * time.Millisecond

// Inside is the story inside the emulated machine.
func Inside(ctx context.Context, w io.Writer) error { return Story(ctx, w, EmulationSlack) }
