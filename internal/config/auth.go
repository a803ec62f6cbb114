package config

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lvsha/vrrp"
)

// maxPassword is what version 2 has room for (RFC 2338 section 5.3.10).
const maxPassword = 8

// secretLimit is more than any file with a secret has.
const secretLimit = 1024

// auth reads [vrrp.NAME.auth]. No message shows a secret.
func (r *report) auth(s section, version uint8) *vrrp.Auth {
	n, ok := s.keys["auth"]
	if !ok {
		return nil
	}
	a, ok := r.section(n, authKeys())
	if !ok {
		return nil
	}
	out := &vrrp.Auth{}
	has := func(key string) bool { return a.keys[key] != nil }
	switch {
	case has("password") && has("password_file"):
		a.bad("password_file", "password is there already; leave one of them out")
	case has("keys") && (has("password") || has("password_file")):
		a.bad("keys", "a virtual router has a password or keys, not both; keys are the better ones")
	case has("password") || has("password_file"):
		out.Password = a.password(version)
		for _, key := range []string{"send", "mode", "window", "replay"} {
			if has(key) {
				a.bad(key, "goes with keys, not with a password; leave this out")
			}
		}
		return out
	case !a.missing("keys", "what advertisements are signed with, such as [{ id = 1, file = \"/etc/lvsha/vrrp-1.key\" }]"):
		out.Keys = a.authKeys()
	}
	out.Send = a.sendKey(out.Keys)
	switch a.word("mode", "enforce", "permissive", "receive-only") {
	case "permissive":
		out.Mode = vrrp.AuthPermissive
	case "receive-only":
		out.Mode = vrrp.AuthReceiveOnly
	}
	out.Window = a.duration("window", 0, vrrp.MinWindow, vrrp.MaxWindow, vrrp.MinWindow)
	out.Monotonic = a.word("replay", "time", "monotonic") == "monotonic"
	return out
}

// password is that of version 2, from the file or from a file of its own.
func (s section) password(version uint8) string {
	key := "password"
	if s.keys[key] == nil {
		key = "password_file"
	}
	if version != 2 {
		s.bad(key, "version 3 has no passwords; use keys, which version 2 may have too")
	}
	text, ok := s.text(key)
	if !ok {
		return ""
	}
	if key == "password_file" {
		b, read := s.secret(s.keys[key], text)
		if !read {
			return ""
		}
		text = string(bytes.TrimRight(b, "\r\n"))
	} else {
		s.secrets = append(s.secrets, s.keys[key])
	}
	switch {
	case strings.TrimSpace(text) == "":
		s.bad(key, "the password is empty; want 1 to %d octets", maxPassword)
	case len(text) > maxPassword:
		s.bad(key, "the password has %d octets and version 2 has room for %d (keepalived uses the first %d of a longer one)", len(text), maxPassword, maxPassword)
	case strings.HasSuffix(text, "\x00"):
		s.bad(key, "the password ends in a zero octet, which is how shorter ones are padded")
	}
	return text
}

// authKeys reads the list of keys.
func (s section) authKeys() []vrrp.AuthKey {
	items := s.list("keys")
	if len(items) == 0 {
		s.bad("keys", "want at least one key")
	}
	var out []vrrp.AuthKey
	first := make(map[uint8]int)
	for _, n := range items {
		k, ok := s.report.section(n, authKeyKeys())
		if !ok || k.missing("id", "1 to 255, the same on all directors") {
			continue
		}
		id, secret := uint8(k.number("id", 0, 1, 255)), k.authKey()
		if line, taken := first[id]; taken {
			k.bad("id", "key %d is there already, on line %d", id, line)
		} else if id != 0 {
			first[id] = n.line
			out = append(out, vrrp.AuthKey{ID: id, Secret: secret})
		}
	}
	return out
}

// authKey is the secret of a key; empty where the files of another director's
// machine would be needed.
func (s section) authKey() string {
	file, text := s.keys["file"], s.keys["hex"]
	switch {
	case file != nil && text != nil:
		s.bad("hex", "file is there already; leave one of them out")
	case file == nil && text == nil:
		s.missing("file", "the file with the key (or hex with the key itself)")
	case text != nil:
		s.secrets = append(s.secrets, text)
		v, ok := s.text("hex")
		if !ok {
			return ""
		}
		b, err := hex.DecodeString(v)
		if err != nil {
			s.bad("hex", "want %d to %d octets in hexadecimal: %v", vrrp.MinSecret, vrrp.MaxSecret, withoutSecret(err))
		} else if err := keyLength(b); err != nil {
			s.bad("hex", "%v", err)
		}
		return string(b)
	default:
		name, ok := s.text("file")
		if !ok {
			return ""
		}
		b, ok := s.secret(file, name)
		if !ok {
			return ""
		}
		key, err := parseKey(b)
		if err != nil {
			s.at(file, "%s: %v", name, err)
		}
		return string(key)
	}
	return ""
}

// sendKey is the key that signs: the lowest unless the file says otherwise.
func (s section) sendKey(keys []vrrp.AuthKey) uint8 {
	var ids []uint8
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	if len(ids) == 0 {
		return 0
	}
	slices.Sort(ids)
	id := uint8(s.number("send", int(ids[0]), 1, 255))
	if !slices.Contains(ids, id) {
		s.bad("send", "there is no key %d; the keys are %s", id, strings.Trim(fmt.Sprint(ids), "[]"))
	}
	return id
}

// secret reads the file that a value names, on the machine it is for.
func (r *report) secret(n *node, name string) ([]byte, bool) {
	if !filepath.IsAbs(name) {
		r.at(n, "want an absolute path such as \"/etc/lvsha/vrrp-1.key\", got %q", name)
		return nil, false
	}
	if r.read == nil {
		return nil, false
	}
	b, err := r.read(name)
	if err != nil {
		r.at(n, "%s: %v", name, err)
		return nil, false
	}
	return b, true
}

// ReadSecret reads a file that nobody but its owner may read. Its error does not
// name the file.
func ReadSecret(name string) ([]byte, error) {
	// Not opened unless it is a file: a pipe would block.
	info, err := os.Stat(name)
	if err != nil {
		return nil, reasonOf(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, reasonOf(err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, reasonOf(err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("others than its owner have rights to it (mode %04o); do: chmod 600 %s", mode, name)
	}
	b, err := io.ReadAll(io.LimitReader(f, secretLimit+1))
	if err != nil {
		return nil, reasonOf(err)
	}
	if len(b) > secretLimit {
		return nil, errors.New("is too long for a secret")
	}
	return b, nil
}

// reasonOf is an error of a file without the name, which is said already.
func reasonOf(err error) error {
	var why *fs.PathError
	if errors.As(err, &why) {
		return why.Err
	}
	return err
}

// parseKey reads the content of a key file: text of hexadecimal digits, with
// keepalived's "hex:" in front or without; other text as it is, without the end of
// the line, as keepalived takes it; anything else as raw octets.
func parseKey(b []byte) ([]byte, error) {
	text := bytes.TrimRight(b, "\r\n")
	if len(text) > 0 && len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("is blank")
	}
	if bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return b, keyLength(b)
	}
	digits, marked := bytes.CutPrefix(text, []byte("hex:"))
	if !marked && bytes.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF", r) }) {
		return text, keyLength(text)
	}
	key := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(key, digits); err != nil {
		return nil, withoutSecret(err)
	}
	return key, keyLength(key)
}

// keyLength says whether a key has one of the lengths that are allowed.
func keyLength(b []byte) error {
	if n := len(b); n < vrrp.MinSecret || n > vrrp.MaxSecret {
		return fmt.Errorf("the key has %d octets, want %d to %d", n, vrrp.MinSecret, vrrp.MaxSecret)
	}
	return nil
}

// withoutSecret is an error of decoding that does not show what it stumbled on.
func withoutSecret(err error) error {
	var octet hex.InvalidByteError
	switch {
	case errors.As(err, &octet):
		return errors.New("there is something else than hexadecimal digits")
	case errors.Is(err, hex.ErrLength):
		return errors.New("the number of hexadecimal digits is odd")
	}
	return err
}
