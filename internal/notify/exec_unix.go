//go:build unix

package notify

import (
	"fmt"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// isolate gives the command a process group of its own, kills that whole group
// when its context ends, and switches the user.
func isolate(cmd *exec.Cmd, name string) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		killGroup(cmd)
		return nil
	}
	if name == "" {
		return nil
	}
	cred, err := credential(name)
	if err != nil {
		return err
	}
	cmd.SysProcAttr.Credential = cred
	return nil
}

// killGroup kills the command and all its children that stayed in its group.
func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // ESRCH: all gone already
}

// credential looks the user up each time: it may be made after the daemon has
// started.
func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", name, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of user %q: %w", name, err)
	}
	cred := &syscall.Credential{}
	if cred.Uid, err = id(u.Uid); err != nil {
		return nil, err
	}
	if cred.Gid, err = id(u.Gid); err != nil {
		return nil, err
	}
	for _, s := range ids {
		g, err := id(s)
		if err != nil {
			return nil, err
		}
		cred.Groups = append(cred.Groups, g)
	}
	return cred, nil
}

func id(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("id %q: %w", s, err)
	}
	return uint32(n), nil
}
