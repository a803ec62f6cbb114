package healthcheck_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lvsha/healthcheck"
)

// TestScramCosts: a server has a password hashed once for each login, and often only where
// the hash is the same as before.
func TestScramCosts(t *testing.T) {
	var rounds, logins atomic.Int64
	hash := func(c net.Conn, salt string, times int, again bool) {
		logins.Add(1)
		buf := make([]byte, 4096)
		c.Read(buf)
		for range 20 {
			io.WriteString(c, pgSays('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"))
			n, err := c.Read(buf)
			_, nonce, found := strings.Cut(string(buf[:n]), "r=")
			if err != nil || !found {
				return
			}
			text := fmt.Sprintf("r=%sx,s=%s,i=%d", nonce, base64.StdEncoding.EncodeToString([]byte(salt)), times)
			io.WriteString(c, pgSays('R', "\x00\x00\x00\x0b"+text))
			if n, err = c.Read(buf); err != nil || n == 0 || !strings.Contains(string(buf[:n]), ",p=") {
				return
			}
			rounds.Add(1)
			if !again {
				io.WriteString(c, pgSays('E', "Mno\x00C28P01\x00\x00"))
				return
			}
		}
	}
	sql := healthcheck.SQL{User: "u", Password: "passw0rd"}
	for _, c := range []struct {
		name  string
		serve func(net.Conn)
		// rounds is how often two probes let the password be hashed, and want what the
		// second one says.
		rounds int64
		want   string
	}{
		{"again and again", func(c net.Conn) { hash(c, "salt", 4096, true) }, 2, "answer is not PostgreSQL: malformed message of SCRAM"},
		{"cheap, another salt each time", func(c net.Conn) { hash(c, fmt.Sprint("salt", logins.Load()), 4096, false) }, 2, "login refused: no"},
		{"dear, the same salt", func(c net.Conn) { hash(c, "salt", 100_001, false) }, 2, "login refused: no"},
		{"dear, another salt each time", func(c net.Conn) { hash(c, fmt.Sprint("salt", logins.Load()), 100_001, false) }, 1, "server wants the password hashed 100001 times, and with another salt than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rounds.Store(0)
			at := addrPort(listen(t, c.serve))
			ask, err := healthcheck.Postgres{SQL: sql}.Prepare()
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err = probeOnce(t, ask, healthcheck.Postgres{SQL: sql}, at, 10*time.Second); err == nil {
					t.Fatal("it passed")
				}
			}
			if !strings.HasPrefix(err.Error(), c.want) || rounds.Load() != c.rounds {
				t.Errorf("%q after %d rounds, want %q after %d", err, rounds.Load(), c.want, c.rounds)
			}
		})
	}
}
