package healthcheck_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"lvsha/healthcheck"
)

// TestAnswersThatEndedDirectors holds answers that a library panicked at, or reserved
// memory for until the process ended.
func TestAnswersThatEndedDirectors(t *testing.T) {
	sql := healthcheck.SQL{User: "u", Password: "passw0rd", Query: "SELECT 1"}
	for _, c := range []struct {
		name  string
		ask   healthcheck.Question
		serve func(net.Conn)
		want  string
	}{
		{"ldap without an operation", healthcheck.LDAP{}, talk("", "\x30\x03\x02\x01\x01"), "fail: answer is not LDAP: malformed message while waiting for the entry"},
		{"ldap nested", healthcheck.LDAP{}, talk("", "\x30\x84\x00\x03\x20\x00"+strings.Repeat("\x30\x80", 100<<10)), "fail: "},
		{"mysql with half a greeting", healthcheck.MySQL{SQL: sql}, talk("\x02\x00\x00\x00\x0a\x00"), "fail: answer is not MySQL: malformed packet while"},
		{"mysql with 2^40 columns", healthcheck.MySQL{SQL: sql}, talk(mysqlPackets(0, mysqlHello("mysql_native_password")), mysqlPackets(2, "\x00\x00\x00\x02\x00\x00\x00"),
			mysqlPackets(1, "\xfe\x00\x00\x00\x00\x00\x01\x00\x00")), "fail: answer is too long"},
		{"ftp without an address", healthcheck.FTP{Path: "/a"}, talk("220 a\r\n", "230 in\r\n", "200 I\r\n", "500 what\r\n", "227 )(\r\n"), `fail: answer to PASV has no port: ")("`},
		{"redis with lists of lists", healthcheck.Redis{Role: "master"}, talk("", "+PONG\r\n", strings.Repeat("*99\r\n", 50<<10)), "fail: answer is too long"},
		{"postgres that hashes forever", healthcheck.Postgres{SQL: sql}, func(c net.Conn) {
			buf := make([]byte, 4096)
			c.Read(buf)
			io.WriteString(c, pgSays('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"))
			n, _ := c.Read(buf)
			_, nonce, _ := strings.Cut(string(buf[:n]), "r=")
			io.WriteString(c, pgSays('R', "\x00\x00\x00\x0br="+nonce+"x,s=c2FsdA==,i=2147483647"))
			c.Read(buf)
		}, "fail: server wants the password hashed 2147483647 times, more than 1000000"},
		{"json of many values", healthcheck.HTTP{Request: healthcheck.Request{JSON: "$..a"}}, talk("", "HTTP/1.0 200 OK\r\nContent-Length: 400001\r\n\r\n["+strings.Repeat("0,", 200_000)), "fail: body has more than 100000 values, too many for JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := allocated()
			if got := probe(t, listen(t, c.serve), healthcheck.Check{Ask: c.ask}); !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if used := allocated() - before; used > 8<<20 {
				t.Errorf("the probe took %d MiB", used>>20)
			}
		})
	}
}

// TestWithoutMD5: where MD5 is forbidden a check that needs it fails, and ends nothing.
func TestWithoutMD5(t *testing.T) {
	const inside = "LVSHA_TEST_WITHOUT_MD5"
	if os.Getenv(inside) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWithoutMD5$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1", "GODEBUG=fips140=only")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	deaf := packets(t, func([]byte) []byte { return nil })
	m := healthcheck.New(healthcheck.Options{})
	target := healthcheck.Target{Server: addrPort(deaf), Check: healthcheck.Check{
		Ask: healthcheck.RADIUS{Secret: "passw0rd", User: "u", Password: "passw0rd"}, Interval: 20 * time.Millisecond, Timeout: 20 * time.Millisecond,
	}}
	m.Set(wants(target))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	for ctx.Err() == nil && state(t, m, target).Counters.Probes < 3 {
		runtime.Gosched()
	}
	cancel()
	<-done
	if s := state(t, m, target); s.State != healthcheck.Down || s.Counters.Panics < 3 || !strings.Contains(s.Reason, "FIPS 140-only") {
		t.Errorf("%v after %d panics: %s", s.State, s.Counters.Panics, s.Reason)
	}
}

// TestDripIsCheap: to look for an expression in what a server says an octet at a time costs
// about as much as in what it says at once.
func TestDripIsCheap(t *testing.T) {
	text := []byte(strings.Repeat("a", 20_000) + "b")
	cost := func(ask healthcheck.TCP, size int) time.Duration {
		began := time.Now()
		if got := healthcheck.Hear(ask, &pieces{text: text, size: size}); !got {
			t.Errorf("%+v is not found in pieces of %d", ask, size)
		}
		return time.Since(began)
	}
	for _, ask := range []healthcheck.TCP{{ExpectRegex: "(a|b)*?[a-c]+b"}, {Expect: strings.Repeat("a", 1000) + "b"}} {
		whole, drip := cost(ask, 4096), cost(ask, 1)
		t.Logf("%v at once, %v an octet at a time", whole, drip)
		if drip > 30*whole+50*time.Millisecond {
			t.Errorf("%+v: %v an octet at a time, %v at once", ask, drip, whole)
		}
	}
}

// pieces is a connection on which a text comes in pieces.
type pieces struct {
	net.Conn
	text []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.text) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.text[:min(p.size, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}
