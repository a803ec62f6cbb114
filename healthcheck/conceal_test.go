package healthcheck_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/healthcheck"
)

// TestConcealed: whatever a server makes a check say, no secret of the check is in it: as it
// was sent, in base64, or cut.
func TestConcealed(t *testing.T) {
	const password = "correct horse"
	request := healthcheck.Request{User: "anna", Password: password}
	then := healthcheck.HTTP{Request: healthcheck.Request{User: "bert", Password: "battery staple"}}
	for _, said := range []string{
		password, "x" + password + "y", strings.Repeat("x", 195) + password, strings.Repeat("x", 190) + password,
		"status 302 to /?" + base64.StdEncoding.EncodeToString([]byte("anna:"+password)),
		"status 302 to /?" + base64.StdEncoding.EncodeToString([]byte("a:"+password)),
		"status 302 to /?" + base64.URLEncoding.EncodeToString([]byte("\x00anna\x00"+password+"\x00")),
		"battery staple", base64.StdEncoding.EncodeToString([]byte("bert:battery staple")),
	} {
		for name, answer := range map[string]func() (healthcheck.Answer, error){
			"failure": func() (healthcheck.Answer, error) { return healthcheck.Answer{}, errors.New(said) },
			"success": func() (healthcheck.Answer, error) { return healthcheck.Answer{Detail: said, Warning: said}, nil },
		} {
			synctest.Test(t, func(t *testing.T) {
				at := target(1, healthcheck.Check{Ask: healthcheck.HTTP{Request: request, Plaintext: true, Then: then}, Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1})
				m := healthcheck.New(healthcheck.Options{Prepare: func(healthcheck.Question) (healthcheck.ProbeFunc, error) {
					return func(context.Context, healthcheck.Target) (healthcheck.Answer, error) { return answer() }, nil
				}})
				m.Set(wants(at))
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- m.Run(ctx) }()
				time.Sleep(3 * time.Second)
				cancel()
				<-done
				s := state(t, m, at)
				if s.Reason == "" {
					t.Fatal("no reason")
				}
				for _, shown := range []string{s.Reason, s.Last.Reason, s.Last.Warning, s.History[0].Reason} {
					for _, part := range []string{"corr", "horse", "batt", "stap", "Y29ycmVjdC", "b3JyZWN0IG", "YmF0dGVye"} {
						if strings.Contains(shown, part) {
							t.Errorf("%s: %q shows %q", name, shown, part)
						}
					}
				}
			})
		}
	}
}

// TestConcealedByKinds: nor does a kind of check itself repeat a password that the server
// has repeated.
func TestConcealedByKinds(t *testing.T) {
	for name, c := range map[string]struct {
		ask  healthcheck.Question
		says []string // one for each read
	}{
		"imap": {healthcheck.IMAP{User: "anna", Password: "hunter2x", Plaintext: true}, []string{"* OK ready\r\n", "X LOGIN anna \"hunter2x\"\r\n"}},
		"pop3": {healthcheck.POP3{User: "anna", Password: "hunter2x", Plaintext: true}, []string{"+OK\r\n", "+OK\r\n", "-ERR PASS hunter2x\r\n"}},
		"smtp": {healthcheck.SMTP{User: "anna", Password: "hunter2x", Plaintext: true},
			[]string{"220 a\r\n", "250-a\r\n250 AUTH PLAIN\r\n", "535 " + base64.StdEncoding.EncodeToString([]byte("\x00anna\x00hunter2x")) + "\r\n"}},
		"redis":         {healthcheck.Redis{Password: "hunter2x", Plaintext: true}, []string{"*2\r\n$4\r\nAUTH\r\n$8\r\nhunter2x\r\n", "+hunter2x\r\n"}},
		"redis, echoed": {healthcheck.Redis{Password: "hunter2x", Plaintext: true}, []string{"AUTH hunter2x\r\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				buf := make([]byte, 4096)
				for i, text := range c.says {
					if i > 0 || strings.HasPrefix(name, "redis") {
						if _, err := conn.Read(buf); err != nil {
							return
						}
					}
					if _, err := io.WriteString(conn, text); err != nil {
						return
					}
				}
				conn.Read(buf)
			}()
			ask, err := c.ask.Prepare()
			if err != nil {
				t.Fatal(err)
			}
			answer, err := probeOnce(t, ask, c.ask, addrPort(l.Addr().String()), 2*time.Second)
			l.Close()
			<-done
			if err == nil {
				t.Fatalf("the check passed: %+v", answer)
			}
			for _, part := range []string{"hunt", "aHVudGVy", "odW50ZX"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%q shows %q", err, part)
				}
			}
			t.Log(err)
		})
	}
}
