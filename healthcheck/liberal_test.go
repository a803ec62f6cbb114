package healthcheck_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lvsha/healthcheck"
	"lvsha/internal/plain"
)

// TestOddWebServers: a check wants a status and a body, whatever else is odd about an
// answer that curl and keepalived take.
func TestOddWebServers(t *testing.T) {
	page := healthcheck.Request{Status: "200", Body: "all ok"}
	status := healthcheck.Request{Status: "200"}
	for name, c := range map[string]struct {
		answer string
		ask    healthcheck.Request
		want   string
	}{
		"a header line without a colon": {"HTTP/1.1 200 OK\r\nthis is none\r\nContent-Length: 6\r\n\r\nall ok", page, "ok: status 200"},
		"a header line without a name":  {"HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 6\r\n\r\nall ok", page, "ok: status 200"},
		"characters in a name":          {"HTTP/1.1 200 OK\r\nX (old): x\r\nContent-Length: 6\r\n\r\nall ok", page, "ok: status 200"},
		"identity":                      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nall ok", page, "ok: status 200"},
		"identity with a length":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 6\r\n\r\nall ok", page, "ok: status 200"},
		"an unknown coding":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: x-old\r\n\r\nall ok", page, "ok: status 200"},
		"two lengths":                   {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 6\r\n\r\nall ok", page, "ok: status 200"},
		"two lengths, the larger first": {"HTTP/1.1 200 OK\r\nContent-Length: 60\r\nContent-Length: 6\r\n\r\nall ok", page, "ok: status 200"},
		"two lengths on a line":         {"HTTP/1.1 200 OK\r\nContent-Length: 6, 6\r\n\r\nall ok", page, "ok: status 200"},
		"a length that is none":         {"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nall ok", page, "ok: status 200"},
		"a negative length":             {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nall ok", page, "ok: status 200"},
		"a length and chunks":           {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: Chunked\r\n\r\n6\r\nall ok\r\n0\r\n\r\n", page, "ok: status 200"},
		"chunks that end in LF":         {"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n 3 ;x\nall\n3\n ok\n0\n\n", page, "ok: status 200"},
		"chunks without a last one":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nall ok\r\n", page, "ok: status 200"},
		"lines that end in LF":          {"HTTP/1.1 200 OK\nContent-Length: 6\n\nall ok", page, "ok: status 200"},
		"a word at the number":          {"HTTP/1.1 200OK\r\n\r\nall ok", page, "ok: status 200"},
		"four digits":                   {"HTTP/1.1 2000 OK\r\n\r\nall ok", page, `fail: answer is not HTTP: malformed response "HTTP/1.1 2000 OK"`},
		"no words":                      {"HTTP/1.1 200\r\n\r\nall ok", page, "ok: status 200"},
		"blanks between the words":      {"HTTP/1.1   200   OK\r\n\r\nall ok", page, "ok: status 200"},
		"small letters":                 {"http/1.1 200 ok\r\ncontent-length: 6\r\n\r\nall ok", page, "ok: status 200"},
		"version 1.0":                   {"HTTP/1.0 200 OK\r\n\r\nall ok", page, "ok: status 200"},
		"no version":                    {"HTTP 200 OK\r\n\r\nall ok", page, "ok: status 200"},
		"another version":               {"HTTP/1.2 200 OK\r\n\r\nall ok", page, "ok: status 200"},
		"ICY":                           {"ICY 200 OK\r\nicy-name: x\r\n\r\nall ok", page, "ok: status 200"},
		"a folded line":                 {"HTTP/1.1 200 OK\r\nX: a\r\n  b\r\n\tc: d\r\nContent-Length: 6\r\n\r\nall ok", page, "ok: status 200"},
		"a folded first line":           {"HTTP/1.1 200 OK\r\n folded\r\nContent-Length: 6\r\n\r\nall ok", page, "ok: status 200"},
		"a blank before a colon":        {"HTTP/1.1 200 OK\r\nContent-Length : 6\r\n\r\nall ok", page, "ok: status 200"},
		"a blank line first":            {"\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nall ok", page, "ok: status 200"},
		"interim answers":               {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nall ok", page, "ok: status 200"},
		"less than the length":          {"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\nall ok", status, "ok: status 200"},
		"less, but enough":              {"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\nall ok", page, "ok: status 200"},
		"control characters":            {"HTTP/1.1 200 \x1b[2J\x00\r\nX: \x00\xff\r\nContent-Length: 6\r\n\r\nall ok", page, "ok: status 200"},
		"a long header line":            {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 60<<10) + "\r\nContent-Length: 6\r\n\r\nall ok", page, "ok: status 200"},
		"a length of 2^63":              {"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nall ok", page, "ok: status 200"},
		"a header that ends":            {"HTTP/1.1 200 OK\r\nContent-Le", page, "fail: connection closed without a complete answer"},
		"no status":                     {"HTTP/1.1 OK\r\n\r\n", page, `fail: answer is not HTTP: malformed response "HTTP/1.1 OK"`},
		"no HTTP":                       {"all ok\r\n", page, `fail: answer is not HTTP: malformed response "all ok"`},
		"less than wanted":              {"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\nall", page, "fail: connection closed without a complete answer"},
	} {
		t.Run(name, func(t *testing.T) {
			server := listen(t, func(conn net.Conn) {
				conn.Read(make([]byte, 4096))
				conn.Write([]byte(c.answer))
			})
			if got := probe(t, server, healthcheck.Check{Ask: healthcheck.HTTP{Request: c.ask}}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestCertificateTexts: the names in a server's certificate are shown clean and short,
// wherever they are shown.
func TestCertificateTexts(t *testing.T) {
	for name, common := range map[string]string{"steering": "\x1b[2J\x07\n", "long": strings.Repeat("x", 100<<10)} {
		t.Run(name, func(t *testing.T) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: common[:min(len(common), 20<<10)]}, DNSNames: []string{common}, NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
			der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			server := listen(t, overTLS(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, talk("", "")))
			check := healthcheck.Check{Ask: healthcheck.HTTPS{Request: healthcheck.Request{Host: "www.example.com"}}, Interval: 10 * time.Second, Timeout: 10 * time.Second}
			changes := make(chan healthcheck.Change, 1)
			m := healthcheck.New(healthcheck.Options{OnChange: func(c healthcheck.Change) {
				select {
				case changes <- c:
				default:
				}
			}})
			target := healthcheck.Target{Server: addrPort(server), Check: check}
			m.Set(wants(target))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- m.Run(ctx) }()
			change := <-changes
			cancel()
			<-done
			s := state(t, m, target)
			for _, text := range []string{change.Reason, s.Reason, s.Last.Reason, s.History[0].Reason, fmt.Sprint(s.Last.Warning)} {
				if plain.Text(text, plain.Most) != text || utf8.RuneCountInString(text) > plain.Most {
					t.Errorf("%.300q", text)
				}
			}
			if want := "certificate: certificate is valid for " + plain.Text(common, 100)[:3]; !strings.HasPrefix(s.Reason, want) {
				t.Errorf("got %q, want %q", s.Reason, want)
			}
		})
	}
}
