package healthcheck_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/plain"
)

// streamKind is a kind of check that speaks over TCP.
type streamKind struct {
	name string
	ask  healthcheck.Question
	// protocol is what an answer that is none is told not to be.
	protocol string
	// flood is how an answer can begin that never ends.
	flood string
}

// streamKinds are all of them, in the clear and over TLS from the first byte.
func streamKinds() []streamKind {
	sql := healthcheck.SQL{User: "lvsha", Password: "passw0rd", Query: "SELECT 1"}
	host := healthcheck.Request{Method: "GET", Path: "/", Host: "www.example.com", Status: "200"}
	return []streamKind{
		{"dns tcp", healthcheck.DNS{Transport: "tcp"}, "DNS", "\xff\xff"},
		{"ftp", healthcheck.FTP{}, "FTP", "220-"},
		{"grpc", healthcheck.GRPC{}, "", "\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		{"http", healthcheck.HTTP{Request: host}, "HTTP", "HTTP/1.1 200 OK\r\nA: "},
		{"http_proxy", healthcheck.HTTPProxy{Request: host}, "HTTP", "HTTP/1.1 200 OK\r\nA: "},
		{"http_proxy https", healthcheck.HTTPProxy{Request: host, Scheme: "https"}, "HTTP", "HTTP/1.1 200 OK\r\nA: "},
		{"imap", healthcheck.IMAP{User: "u", Password: "passw0rd"}, "IMAP", "* OK "},
		{"imap starttls", healthcheck.IMAP{Security: "starttls"}, "IMAP", "* OK "},
		{"ldap", healthcheck.LDAP{}, "LDAP", "\x30\x84\x7f\xff\xff\xff\x04\x84\x7f\xff\xff\xf0"},
		{"ldap starttls", healthcheck.LDAP{Security: "starttls"}, "LDAP", "\x30\x84\x7f\xff\xff\xff\x30\x80\x30\x80"},
		{"mysql", healthcheck.MySQL{SQL: sql}, "MySQL", "\xff\xff\xff\x00"},
		{"nntp", healthcheck.NNTP{}, "NNTP", "200 "},
		{"pop3", healthcheck.POP3{}, "POP3", "+OK "},
		{"postgres", healthcheck.Postgres{SQL: sql}, "PostgreSQL", "R\x7f\xff\xff\xff"},
		{"redis", healthcheck.Redis{}, "Redis", "$99999999999\r\n"},
		{"sip tcp", healthcheck.SIP{Transport: "tcp"}, "SIP", "SIP/2.0 200 OK\r\nA: "},
		{"smtp", healthcheck.SMTP{}, "SMTP", "220-"},

		{"dns tls", healthcheck.DNS{Transport: "tls"}, "TLS", ""},
		{"ftp tls", healthcheck.FTP{Security: "on"}, "TLS", ""},
		{"grpc tls", healthcheck.GRPC{Security: "on"}, "TLS", ""},
		{"https", healthcheck.HTTPS{Request: host}, "TLS", ""},
		{"imaps", healthcheck.IMAPS{}, "TLS", ""},
		{"ldaps", healthcheck.LDAPS{}, "TLS", ""},
		{"nntp tls", healthcheck.NNTP{Security: "on"}, "TLS", ""},
		{"pop3s", healthcheck.POP3S{}, "TLS", ""},
		{"redis tls", healthcheck.Redis{Security: "on"}, "TLS", ""},
		{"sip tls", healthcheck.SIP{Transport: "tls"}, "TLS", ""},
		{"smtp tls", healthcheck.SMTP{Security: "on"}, "TLS", ""},
	}
}

// TestMisbehaviour holds what no server may do to a check of any kind: keep it
// waiting, fill the memory, or leave something behind.
func TestMisbehaviour(t *testing.T) {
	const timeout = 150 * time.Millisecond
	web := "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"
	banner := "SSH-2.0-OpenSSH_9.2\r\n"
	late := func(streamKind) []string {
		return []string{"timeout after 150ms while ", "answer is too long", "answer is not "}
	}
	closed := func(streamKind) []string {
		return []string{"connection closed ", "connection lost ", "answer is not HTTP/2: connection closed at once"}
	}
	lie := func(quoted string) func(streamKind) []string {
		return func(k streamKind) []string {
			switch {
			case strings.Contains(k.name, "http_proxy https") && quoted == web:
				return []string{"tunnel refused: status 400", "answer is not HTTP: it came before"}
			case strings.HasPrefix(k.name, "http") && k.protocol == "HTTP" && quoted == web:
				// It says so before it is asked, which may be noticed.
				return []string{"status 400, want 200", "answer is not HTTP: it came before the question"}
			case k.name == "grpc":
				return []string{"answer is not HTTP/2", "connection closed or not HTTP/2"}
			}
			return []string{"answer is not " + k.protocol}
		}
	}
	for _, c := range []struct {
		name  string
		serve func(k streamKind, c net.Conn)
		want  func(streamKind) []string
	}{
		{"hanging", func(_ streamKind, c net.Conn) { io.Copy(io.Discard, c) }, late},
		{"closing at once", func(streamKind, net.Conn) {}, closed},
		{"closing when asked", func(k streamKind, c net.Conn) {
			c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // some wait to be greeted
			c.Read(make([]byte, 4096))
		}, closed},
		{"lying like a web server", func(_ streamKind, c net.Conn) {
			io.WriteString(c, web)
			io.Copy(io.Discard, c)
		}, lie(web)},
		{"lying like SSH", func(_ streamKind, c net.Conn) {
			io.WriteString(c, banner)
			io.Copy(io.Discard, c)
		}, lie(banner)},
		{"dripping", func(k streamKind, c net.Conn) {
			text := k.flood
			if text == "" {
				text = "\x16\x03\x03\x40\x00" // a record of TLS
			}
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for i := 0; ; i++ {
				if _, err := c.Write([]byte{text[min(i, len(text)-1)]}); err != nil {
					return
				}
				<-tick.C
			}
		}, late},
		{"flooding", func(k streamKind, c net.Conn) {
			io.WriteString(c, k.flood)
			for b := slices.Repeat([]byte("a"), 64<<10); ; {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}, nil},
		{"flooding with lines", func(k streamKind, c net.Conn) {
			line := k.flood + "a\r\n"
			for b := []byte(strings.Repeat(line, 1000)); ; {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, k := range streamKinds() {
				t.Run(k.name, func(t *testing.T) {
					nothingLeft(t, func(t *testing.T) {
						server := listen(t, func(conn net.Conn) { c.serve(k, conn) })
						var before, after runtime.MemStats
						runtime.ReadMemStats(&before)
						got := probe(t, server, within(timeout, healthcheck.Check{Ask: k.ask}))
						runtime.ReadMemStats(&after)
						if grown := after.TotalAlloc - before.TotalAlloc; grown > 40<<20 {
							t.Errorf("the probe took %d MiB", grown>>20)
						}
						t.Log(got)
						acceptableReason(t, got)
						if c.want == nil {
							return
						}
						if want := c.want(k); !slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(got, "fail: "+w) }) {
							t.Errorf("got %q, want one of %q", got, want)
						}
					})
				})
			}
		})
	}
	t.Run("refusing", func(t *testing.T) {
		for _, k := range streamKinds() {
			if got := probe(t, closedPort(t), healthcheck.Check{Ask: k.ask}); got != "fail: connect: refused" {
				t.Errorf("%s: got %q", k.name, got)
			}
		}
	})
	t.Run("withdrawn", func(t *testing.T) {
		server := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
		for _, k := range streamKinds() {
			nothingLeft(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				timer := time.AfterFunc(30*time.Millisecond, cancel)
				defer timer.Stop()
				ask, err := k.ask.Prepare()
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if _, err := ask(ctx, healthcheck.Target{Server: netip.MustParseAddrPort(server)}); err == nil {
					t.Errorf("%s: passed", k.name)
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("%s: took %v after the end of its context", k.name, took)
				}
			})
		}
	})
}

// acceptableReason holds that a reason is short, on one line, and without the
// secret.
func acceptableReason(t *testing.T, reason string) {
	t.Helper()
	if plain.Text(reason, plain.Most) != reason {
		t.Errorf("reason is not fit to be shown: %q", reason)
	}
	if strings.Contains(reason, "passw0rd") {
		t.Errorf("reason shows a secret: %q", reason)
	}
}

// nothingLeft runs fn and wants no more goroutines and descriptors afterwards
// than before.
func nothingLeft(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	probe(t, closedPort(t), healthcheck.Check{Ask: healthcheck.TCP{}}) // opens what the runtime keeps
	goroutines, files := runtime.NumGoroutine(), descriptors()
	t.Run("", fn) // which ends its servers
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		g, f := runtime.NumGoroutine(), descriptors()
		if g <= goroutines && f <= files {
			return
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d after; %d descriptors before, %d after\n%s", goroutines, g, files, f, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
