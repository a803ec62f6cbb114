package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// RunWithIPVS runs the machine's command where there is IPVS: on this kernel,
// in namespaces of its own, if it has it, else inside the machine. It returns
// the command's exit code.
func RunWithIPVS(ctx context.Context, m Machine, out io.Writer) (int, error) {
	if !HostHasIPVS() {
		return m.Run(ctx, out)
	}
	h, err := newHost("lab")
	if err != nil {
		return 0, err
	}
	defer h.close()
	cmd := exec.CommandContext(ctx, m.Command[0], m.Command[1:]...)
	cmd.Env = append(os.Environ(), m.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = childAttr()
	if err := h.Do(cmd.Start); err != nil {
		return 0, fmt.Errorf("starting %s: %w", m.Command[0], err)
	}
	err = cmd.Wait()
	if cmd.ProcessState.ExitCode() < 0 {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}
