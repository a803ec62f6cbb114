package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"lvsha/internal/config"
	"lvsha/internal/peer"
)

// key makes the private key of this director, unless it is there, and prints the
// public one as the file wants it.
func key(_ context.Context, c *call) error {
	out := c.flags.String("out", config.DefaultKeyFile, "the `file` with the private key; one that is there stays as it is")
	as := c.flags.String("as", "", "the `name` of this director in the file, instead of the host name")
	if err := c.parse(); err != nil {
		return err
	}
	name := *as
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("asking for the host name: %w; say --as NAME", err)
		}
		name, _, _ = strings.Cut(host, ".")
	}
	private, made, err := ownKey(*out)
	if err != nil {
		return err
	}
	if made {
		fmt.Fprintf(c.stderr, "made %s; it stays on this machine. For lvsha.toml on all directors:\n", *out)
	} else {
		fmt.Fprintf(c.stderr, "%s is there already. For lvsha.toml on all directors:\n", *out)
	}
	if strings.ContainsFunc(name, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
	}) {
		name = strconv.Quote(name)
	}
	fmt.Fprintf(c.stdout, "[director.%s]\nkey = %q\n", name, peer.PinOf(private))
	return nil
}

// ownKey reads a private key, or makes it where there is none.
func ownKey(path string) (key ed25519.PrivateKey, made bool, err error) {
	text, err := config.ReadSecret(path)
	switch {
	case err == nil:
		key, err := peer.ParseKey(text)
		if err != nil {
			return nil, false, fmt.Errorf("%s %w", path, err)
		}
		return key, false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	if key, err = peer.NewKey(); err != nil {
		return nil, false, err
	}
	if text, err = peer.EncodeKey(key); err != nil {
		return nil, false, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, false, fmt.Errorf("making the directory of the key: %w", err)
	}
	// Nobody sees half a key, and no key takes the place of another.
	temporary, err := os.CreateTemp(filepath.Dir(path), ".key") // of mode 0600
	if err != nil {
		return nil, false, fmt.Errorf("making a file for the key: %w", err)
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(text)
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return nil, false, fmt.Errorf("writing the key: %w", err)
	}
	if err := os.Link(temporary.Name(), path); err != nil {
		return nil, false, fmt.Errorf("putting the key in place: %w", err)
	}
	return key, true, nil
}
