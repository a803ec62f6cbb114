package vrrp

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// passwordAuth is version 2's authentication type of a simple text password
// (RFC 2338 section 5.3.6.2).
const passwordAuth = 1

// The limits of authentication (draft-cassen-vrrp-auth-hmac).
const (
	// MinSecret and MaxSecret bound a key of the HMAC trailer, in octets.
	MinSecret, MaxSecret = 32, 64
	// MinWindow and MaxWindow bound Auth.Window.
	MinWindow, MaxWindow = time.Second, 300 * time.Second
	// windowFloor is the least window that is derived from the interval.
	windowFloor = 5 * time.Second
)

// String says what is in use, without a secret.
func (a Auth) String() string {
	if a.Password != "" {
		return "password"
	}
	ids := make([]string, len(a.Keys))
	for i, k := range a.Keys {
		ids[i] = k.String()
	}
	return fmt.Sprintf("%s, %s, sends with %d", a.Mode, strings.Join(ids, ", "), a.Send)
}

// GoString and MarshalText keep secrets out of dumps and JSON.
func (a Auth) GoString() string             { return "vrrp.Auth(" + a.String() + ")" }
func (a Auth) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// String is the key without its secret.
func (k AuthKey) String() string { return fmt.Sprintf("key %d", k.ID) }

// GoString and MarshalText keep the secret out of dumps and JSON.
func (k AuthKey) GoString() string             { return "vrrp.AuthKey(" + k.String() + ")" }
func (k AuthKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// String is the mode as it stands in the file.
func (m AuthMode) String() string {
	switch m {
	case AuthEnforce:
		return "enforce"
	case AuthPermissive:
		return "permissive"
	case AuthReceiveOnly:
		return "receive-only"
	default:
		return "unknown"
	}
}

// trailers says whether the HMAC trailer is in use.
func (a *Auth) trailers() bool { return a != nil && len(a.Keys) > 0 }

// signs says whether what we send has a trailer.
func (a *Auth) signs() bool { return a.trailers() && a.Mode != AuthReceiveOnly }

// authWindow is the freshness window in whole seconds, which is how the trailer
// is compared.
func (c *Config) authWindow() time.Duration {
	if c.Auth.Window != 0 {
		return c.Auth.Window
	}
	return max(windowFloor, (3*c.Interval + time.Second - 1).Truncate(time.Second))
}

// validateAuth reports what is wrong with Auth.
func (c *Config) validateAuth(bad func(format string, args ...any)) {
	a := c.Auth
	if a == nil {
		return
	}
	switch {
	case a.Password != "" && len(a.Keys) > 0:
		bad("authentication has both a password and keys")
	case a.Password == "" && len(a.Keys) == 0:
		bad("authentication has neither a password nor keys")
	case a.Password != "" && c.Version != 2:
		bad("a password is for version 2 only")
	}
	if len(a.Password) > authLen {
		bad("password of %d octets is longer than %d", len(a.Password), authLen)
	}
	if strings.HasSuffix(a.Password, "\x00") {
		bad("password ends in a zero octet, which is how it is padded")
	}
	var ids []uint8
	for _, k := range a.Keys {
		if k.ID == 0 {
			bad("key id 0 is outside 1 to 255")
		}
		if slices.Contains(ids, k.ID) {
			bad("key id %d is there twice", k.ID)
		}
		ids = append(ids, k.ID)
		if n := len(k.Secret); n < MinSecret || n > MaxSecret {
			bad("key %d of %d octets is outside %d to %d", k.ID, n, MinSecret, MaxSecret)
		}
	}
	if len(a.Keys) > 0 && !slices.Contains(ids, a.Send) {
		bad("key %d, which is to sign, is not there", a.Send)
	}
	if a.Mode > AuthReceiveOnly {
		bad("authentication mode %d is unknown", a.Mode)
	}
	if a.Window != 0 && (a.Window < MinWindow || a.Window > MaxWindow || a.Window%time.Second != 0) {
		bad("window %s is not a whole number of seconds from %s to %s", a.Window, MinWindow, MaxWindow)
	}
}

// validateUnicast reports what is wrong with the peers.
func (c *Config) validateUnicast(bad func(format string, args ...any)) {
	family := c.Family()
	for i, p := range c.Unicast {
		switch {
		case !p.IsValid() || p.Is4() != (family == IPv4):
			bad("unicast peer %s is not of the family of the addresses", p)
		case p.IsMulticast() || p.IsUnspecified():
			bad("unicast peer %s is not the address of one machine", p)
		case p == c.Source:
			bad("unicast peer %s is the address to send from", p)
		case p.IsLinkLocalUnicast() != c.Unicast[0].IsLinkLocalUnicast() && p.Is6():
			bad("unicast peers %s and %s are not of one scope, and there is one address to send from", c.Unicast[0], p)
		}
		if slices.Contains(c.Unicast[:i], p) {
			bad("unicast peer %s is there twice", p)
		}
	}
	if c.MinTTL != 0 && len(c.Unicast) == 0 {
		bad("minimum TTL %d without unicast peers", c.MinTTL)
	}
	for _, p := range slices.SortedFunc(maps.Keys(c.PeerChecksum), netip.Addr.Compare) {
		if !slices.Contains(c.Unicast, p) {
			bad("checksum for %s, which is no unicast peer", p)
		}
	}
}

// checksumWith is the form of the checksum to and from an address.
func (c *Config) checksumWith(a netip.Addr) Checksum {
	if form, ok := c.PeerChecksum[a]; ok {
		return form
	}
	return c.Checksum
}
