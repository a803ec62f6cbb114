package healthcheck_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lvsha/healthcheck"
)

// script serves what a transcript says: lines of the server start with "S: ",
// those that the client has to send with "C: ", those that it may send with
// "c: "; "until: " passes over what the client sends up to a word, and "TLS" begins
// TLS.
func script(t *testing.T, transcript string, certificate tls.Certificate) string {
	t.Helper()
	return listen(t, func(c net.Conn) {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		in := bufio.NewReader(c)
		for line := range strings.Lines(transcript) {
			line = strings.TrimSpace(line)
			switch who, text, _ := strings.Cut(line, ": "); who {
			case "S":
				if _, err := io.WriteString(c, text+"\r\n"); err != nil {
					t.Errorf("sending %q: %v", text, err)
					return
				}
			case "C", "c":
				got, err := in.ReadString('\n')
				if err != nil && who == "c" {
					return
				}
				if got = strings.TrimRight(got, "\r\n"); got != text {
					t.Errorf("client says %q (%v), want %q", got, err, text)
					return
				}
			case "until":
				for said := ""; !strings.Contains(said, text); {
					var err error
					if said, err = in.ReadString('\n'); err != nil {
						t.Errorf("client ends before %s: %v", text, err)
						return
					}
				}
			case "TLS":
				secured := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}})
				if err := secured.Handshake(); err != nil {
					return // which the client has to say
				}
				c, in = secured, bufio.NewReader(secured)
			case "":
			default:
				t.Errorf("line %q of a transcript", line)
			}
		}
	})
}

// certificate is a self-signed one for 127.0.0.1, and the file that has it.
func certificate(t *testing.T, notAfter time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: notAfter, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// TestLines holds the conversations of the kinds whose protocols are lines.
func TestLines(t *testing.T) {
	good, ca := certificate(t, time.Now().AddDate(1, 0, 0))
	soon, soonCA := certificate(t, time.Now().Add(5*24*time.Hour+time.Hour))
	trusted := healthcheck.TLS{CA: ca, ExpiryDays: 14}
	const (
		user = "operator"
		pass = healthcheck.Secret("hunter2hunter2")
	)
	for _, c := range []struct {
		name        string
		ask         healthcheck.Question
		certificate tls.Certificate
		transcript  string
		want        string
	}{
		{"smtp", healthcheck.SMTP{}, good, `
			S: 220 mx.example.com ESMTP ready
			C: EHLO localhost
			S: 250-mx.example.com
			S: 250 SIZE 10
			c: QUIT
			S: 221 bye`, "ok: 220 mx.example.com ESMTP ready"},
		{"smtp without EHLO", healthcheck.SMTP{Helo: "director.example.com"}, good, `
			S: 220 old
			C: EHLO director.example.com
			S: 502 what?
			C: HELO director.example.com
			S: 250 hello`, "ok: 220 old"},
		{"smtp full", healthcheck.SMTP{}, good, `S: 421 too many connections`, "fail: greeting refused: 421 too many connections"},
		{"smtp that knows nobody", healthcheck.SMTP{}, good, `
			S: 220 mx
			C: EHLO localhost
			S: 550 go away
			C: HELO localhost
			S: 550 go away`, "fail: EHLO refused: 550 go away"},
		{"smtp login", healthcheck.SMTP{Plaintext: true, User: user, Password: pass}, good, `
			S: 220 mx
			C: EHLO localhost
			S: 250-mx
			S: 250 AUTH PLAIN LOGIN
			C: AUTH PLAIN AG9wZXJhdG9yAGh1bnRlcjJodW50ZXIy
			S: 235 welcome`, "ok: 220 mx"},
		{"smtp login by LOGIN", healthcheck.SMTP{Plaintext: true, User: user, Password: pass, Method: "login"}, good, `
			S: 220 mx
			C: EHLO localhost
			S: 250-mx
			S: 250 AUTH LOGIN
			C: AUTH LOGIN b3BlcmF0b3I=
			S: 334 UGFzc3dvcmQ6
			C: aHVudGVyMmh1bnRlcjI=
			S: 235 welcome`, "ok: 220 mx"},
		{"smtp wrong password", healthcheck.SMTP{Plaintext: true, User: user, Password: pass}, good, `
			S: 220 mx
			C: EHLO localhost
			S: 250-mx
			S: 250 AUTH PLAIN LOGIN
			C: AUTH PLAIN AG9wZXJhdG9yAGh1bnRlcjJodW50ZXIy
			S: 535 hunter2hunter2 is wrong`, "fail: login refused: 535 (secret) is wrong"},
		{"smtp in clear", healthcheck.SMTP{User: user, Password: pass, Security: "optional"}, good, `
			S: 220 mx
			C: EHLO localhost
			S: 250 AUTH PLAIN`, "fail: STARTTLS is not offered, and the password would go in clear, which plaintext = true allows"},
		{"smtp without AUTH", healthcheck.SMTP{Plaintext: true, User: user, Password: pass}, good, `
			S: 220 mx
			C: EHLO localhost
			S: 250 mx`, "fail: AUTH is not offered"},
		{"smtp starttls", healthcheck.SMTP{Security: "starttls", TLS: trusted}, good, `
			S: 220 mx
			C: EHLO localhost
			S: 250-mx
			S: 250 STARTTLS
			C: STARTTLS
			S: 220 go
			TLS
			C: EHLO localhost
			S: 250 mx`, "ok: 220 mx"},
		{"smtp optional starttls", healthcheck.SMTP{Security: "optional", TLS: trusted}, good, `
			S: 220 mx
			C: EHLO localhost
			S: 250 mx`, "ok: 220 mx"},
		{"smtp without STARTTLS", healthcheck.SMTP{Security: "starttls", TLS: trusted}, good, `
			S: 220 mx
			C: EHLO localhost
			S: 250 mx`, "fail: STARTTLS is not offered"},
		{"smtp untrusted", healthcheck.SMTP{Security: "optional"}, good, `
			S: 220 mx
			C: EHLO localhost
			S: 250-mx
			S: 250 STARTTLS
			C: STARTTLS
			S: 220 go
			TLS`, "fail: certificate: certificate signed by unknown authority"},
		{"smtps", healthcheck.SMTP{Security: "on", TLS: trusted}, good, `
			TLS
			S: 220 mx
			C: EHLO localhost
			S: 250 mx`, "ok: 220 mx"},
		{"smtp certificate of another", healthcheck.SMTP{Security: "on", TLS: healthcheck.TLS{CA: ca, ServerName: "mx.example.com"}}, good, "TLS",
			"fail: certificate: certificate is not valid for any names, but wanted to match mx.example.com"},

		{"imap", healthcheck.IMAP{}, good, `S: * OK [CAPABILITY IMAP4rev1] ready
			c: T1 LOGOUT
			S: * BYE
			S: T1 OK`, "ok: * OK [CAPABILITY IMAP4rev1] ready"},
		{"imap full", healthcheck.IMAP{}, good, `S: * BYE too many connections`, "fail: greeting refused: too many connections"},
		{"imap login", healthcheck.IMAP{User: user, Password: pass}, good, `
			S: * OK [CAPABILITY IMAP4rev1] ready
			C: T1 LOGIN "operator" "hunter2hunter2"
			S: T1 OK [CAPABILITY IMAP4rev1] in
			c: T2 LOGOUT
			S: T2 OK`, "ok: * OK [CAPABILITY IMAP4rev1] ready"},
		{"imap wrong password", healthcheck.IMAP{User: user, Password: pass}, good, `
			S: * OK [CAPABILITY IMAP4rev1] ready
			C: T1 LOGIN "operator" "hunter2hunter2"
			S: T1 NO [AUTHENTICATIONFAILED] no`, "fail: login refused: no"},
		{"imap starttls", healthcheck.IMAP{Security: "starttls", TLS: trusted}, good, `
			S: * OK [CAPABILITY IMAP4rev1 STARTTLS] ready
			C: T1 STARTTLS
			S: T1 OK go
			TLS
			until: LOGOUT`, "ok: * OK [CAPABILITY IMAP4rev1 STARTTLS] ready"},
		{"imap untrusted", healthcheck.IMAP{Security: "starttls"}, good, `
			S: * OK [CAPABILITY IMAP4rev1 STARTTLS] ready
			C: T1 STARTTLS
			S: T1 OK go
			TLS`, "fail: certificate: certificate signed by unknown authority"},
		{"imaps, expiring", healthcheck.IMAPS{TLS: healthcheck.TLS{CA: soonCA, ExpiryDays: 14}}, soon, `
			TLS
			S: * OK [CAPABILITY IMAP4rev1] ready
			until: LOGOUT`, "ok: * OK [CAPABILITY IMAP4rev1] ready; warning: certificate expires in 5 days"},

		{"pop3", healthcheck.POP3{}, good, `
			S: +OK ready
			c: QUIT
			S: +OK`, "ok: +OK ready"},
		{"pop3 busy", healthcheck.POP3{}, good, `S: -ERR [SYS/TEMP] busy`, "fail: greeting refused: [SYS/TEMP] busy"},
		{"pop3 login", healthcheck.POP3{User: user, Password: pass}, good, `
			S: +OK ready
			C: USER operator
			S: +OK
			C: PASS hunter2hunter2
			S: +OK`, "ok: +OK ready"},
		{"pop3 wrong password", healthcheck.POP3{User: user, Password: pass}, good, `
			S: +OK ready
			C: USER operator
			S: +OK
			C: PASS hunter2hunter2
			S: -ERR not hunter2hunter2`, "fail: login refused: not (secret)"},
		{"pop3 starttls", healthcheck.POP3{Security: "starttls", User: user, Password: pass, TLS: trusted}, good, `
			S: +OK ready
			C: STLS
			S: +OK
			TLS
			C: USER operator
			S: +OK
			C: PASS hunter2hunter2
			S: +OK`, "ok: +OK ready"},
		{"pop3s, expiring", healthcheck.POP3S{TLS: healthcheck.TLS{CA: soonCA, ExpiryDays: 14}}, soon, `
			TLS
			S: +OK ready`, "ok: +OK ready; warning: certificate expires in 5 days"},

		{"nntp", healthcheck.NNTP{}, good, `
			S: 201 no posting
			c: QUIT
			S: 205 bye`, "ok: 201 no posting"},
		{"nntp refuses", healthcheck.NNTP{}, good, `S: 502 no access`, "fail: greeting refused: 502 no access"},
		{"nntp login and group", healthcheck.NNTP{User: user, Password: pass, Group: "a.b"}, good, `
			S: 200 ready
			C: AUTHINFO USER operator
			S: 381 go on
			C: AUTHINFO PASS hunter2hunter2
			S: 281 in
			C: GROUP a.b
			S: 211 3 1 3 a.b`, "ok: group a.b has 3 articles"},
		{"nntp wrong password", healthcheck.NNTP{User: user, Password: pass}, good, `
			S: 200 ready
			C: AUTHINFO USER operator
			S: 381 go on
			C: AUTHINFO PASS hunter2hunter2
			S: 481 no`, "fail: login refused: 481 no"},
		{"nntp without the group", healthcheck.NNTP{Group: "a.b"}, good, `
			S: 200 ready
			C: GROUP a.b
			S: 411 no such group`, "fail: group a.b refused: 411 no such group"},
		{"nntp starttls", healthcheck.NNTP{Security: "starttls", TLS: trusted, Group: "a.b"}, good, `
			S: 200 ready
			C: STARTTLS
			S: 382 go
			TLS
			C: GROUP a.b
			S: 211 0 0 0 a.b`, "ok: group a.b has 0 articles"},

		{"ftp", healthcheck.FTP{}, good, `
			S: 220 ready
			C: USER anonymous
			S: 331 password
			C: PASS lvsha@
			S: 230 in
			c: QUIT`, "ok: 220 ready"},
		{"ftp wrong password", healthcheck.FTP{User: user, Password: pass}, good, `
			S: 220 ready
			C: USER operator
			S: 331 password
			C: PASS hunter2hunter2
			S: 530 wrong
			c: QUIT`, "fail: login refused: 530 wrong"},
		{"ftp untrusted", healthcheck.FTP{Security: "starttls"}, good, `
			S: 220 ready
			C: AUTH TLS
			S: 234 go
			TLS`, "fail: certificate: certificate signed by unknown authority"},

		{"redis", healthcheck.Redis{}, good, `
			C: *1
			C: $4
			C: PING
			S: +PONG`, "ok: PONG"},
		{"redis loading", healthcheck.Redis{}, good, `
			C: *1
			C: $4
			C: PING
			S: -LOADING Redis is loading the dataset in memory`, "fail: PING refused: LOADING Redis is loading the dataset in memory"},
		{"redis wrong password", healthcheck.Redis{User: user, Password: pass}, good, `
			C: *3
			C: $4
			C: AUTH
			C: $8
			C: operator
			C: $14
			C: hunter2hunter2
			S: -WRONGPASS invalid username-password pair`, "fail: login refused: WRONGPASS invalid username-password pair"},
		{"redis replica", healthcheck.Redis{Role: "master"}, good, `
			C: *1
			C: $4
			C: PING
			S: +PONG
			C: *1
			C: $4
			C: ROLE
			S: *5
			S: $5
			S: slave
			S: $9
			S: 192.0.2.1
			S: :6379
			S: $9
			S: connected
			S: :14`, "fail: role is replica, want master"},
		{"redis key", healthcheck.Redis{Key: "k", Value: "v"}, good, `
			C: *1
			C: $4
			C: PING
			S: +PONG
			C: *2
			C: $3
			C: GET
			C: $1
			C: k
			S: $5
			S: other`, "fail: k is other, want v"},
		{"redis over tls", healthcheck.Redis{Security: "on", TLS: trusted}, good, `
			TLS
			C: *1
			C: $4
			C: PING
			S: +PONG`, "ok: PONG"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := script(t, c.transcript, c.certificate)
			if got := probe(t, server, healthcheck.Check{Ask: c.ask}); !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
