package healthcheck

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/secure/precis"
)

const (
	// scramMost bounds how often a server may have a password hashed: that many take less
	// than a second, and PostgreSQL's default is 4096.
	scramMost = 1_000_000
	// scramCheap is up to how many it may have that done with each probe: tens of
	// milliseconds. More are done once for a salt, and for another one after scramPause.
	scramCheap = 100_000
	scramPause = time.Minute
)

var (
	// errSCRAM is the reason for a message that is malformed.
	errSCRAM = errors.New("malformed message of SCRAM")
	// errImpostor is the reason for a server that does not know the password.
	errImpostor = errUnmet("server did not prove that it knows the password")
)

// salted is the hash of a password that was made last. It is for one goroutine at a time.
type salted struct {
	salt []byte
	n    int
	key  []byte
	at   time.Time
}

// of is the hash of a password, the same one as before or a new one.
func (s *salted) of(ctx context.Context, now time.Time, password string, salt []byte, n int) ([]byte, error) {
	if s.n == n && bytes.Equal(s.salt, salt) {
		return s.key, nil
	}
	if n > scramCheap && s.n > scramCheap && now.Sub(s.at) < scramPause {
		return nil, unmet("server wants the password hashed %d times, and with another salt than %v ago", n, now.Sub(s.at).Round(time.Second))
	}
	key, err := saltedPassword(ctx, password, salt, n)
	if err != nil {
		// What was spent in vain is spent all the same.
		*s = salted{n: n, at: now}
		return nil, err
	}
	*s = salted{bytes.Clone(salt), n, key, now}
	return key, nil
}

// scram is a login by SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.
type scram struct {
	// made is what is known of former logins.
	made   *salted
	nonce  string
	server []byte // the signature that the server has to show
	proven bool
}

// first is the client's first message.
func (s *scram) first() (string, error) {
	if s.nonce != "" {
		return "", errSCRAM // once is enough
	}
	var random [18]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", err
	}
	s.nonce = base64.StdEncoding.EncodeToString(random[:])
	return "n,,n=,r=" + s.nonce, nil
}

// final answers the server's first message.
func (s *scram) final(ctx context.Context, password, said string) (string, error) {
	nonce, rest, _ := strings.Cut(said, ",")
	salt, count, _ := strings.Cut(rest, ",")
	count, _, _ = strings.Cut(count, ",")
	n, err := strconv.Atoi(strings.TrimPrefix(count, "i="))
	raw, errSalt := base64.StdEncoding.DecodeString(strings.TrimPrefix(salt, "s="))
	switch {
	case err != nil || errSalt != nil || !strings.HasPrefix(count, "i=") || !strings.HasPrefix(salt, "s=") || len(raw) == 0 || n < 1:
		return "", errSCRAM
	case s.server != nil || s.nonce == "" || len(nonce) <= len("r=")+len(s.nonce) || !strings.HasPrefix(nonce, "r="+s.nonce):
		return "", errSCRAM
	case n > scramMost:
		return "", unmet("server wants the password hashed %d times, more than %d", n, scramMost)
	}
	// A password that is not to be prepared is taken as it is (as PostgreSQL does).
	if prepared, err := precis.OpaqueString.String(password); err == nil {
		password = prepared
	}
	key, err := s.made.of(ctx, time.Now(), password, raw, n)
	if err != nil {
		return "", err
	}
	client := keyed(key, "Client Key")
	stored := sha256.Sum256(client)
	without := "c=biws," + nonce
	message := "n=,r=" + s.nonce + "," + said + "," + without
	proof := keyed(stored[:], message)
	for i := range proof {
		proof[i] ^= client[i]
	}
	s.server = keyed(keyed(key, "Server Key"), message)
	return without + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// verify holds the server's last message against what it has to be.
func (s *scram) verify(said string) error {
	text, _, _ := strings.Cut(said, ",")
	signature, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "v="))
	if err != nil || s.server == nil || !hmac.Equal(signature, s.server) {
		return errImpostor
	}
	s.proven = true
	return nil
}

// saltedPassword is PBKDF2 with HMAC-SHA-256 for one block; it ends with ctx.
func saltedPassword(ctx context.Context, password string, salt []byte, n int) ([]byte, error) {
	sum := hmac.New(sha256.New, []byte(password))
	sum.Write(salt)
	sum.Write(binary.BigEndian.AppendUint32(nil, 1))
	round := sum.Sum(nil)
	out := append([]byte(nil), round...)
	for i := 1; i < n; i++ {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, context.DeadlineExceeded
		}
		sum.Reset()
		sum.Write(round)
		round = sum.Sum(round[:0])
		for j := range out {
			out[j] ^= round[j]
		}
	}
	return out, nil
}

func keyed(key []byte, text string) []byte {
	sum := hmac.New(sha256.New, key)
	sum.Write([]byte(text))
	return sum.Sum(nil)
}
