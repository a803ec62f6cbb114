package program

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"syscall"
)

// credential looks the user up each time: it may be made after the daemon has started.
func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	switch {
	case errors.As(err, &unknown):
		return nil, fmt.Errorf("user %q: %w", name, err)
	case err != nil:
		return nil, fmt.Errorf("%w: looking up user %q: %w", ErrMachine, name, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("%w: looking up the groups of user %q: %w", ErrMachine, name, err)
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
