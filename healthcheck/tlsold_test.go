package healthcheck_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"lvsha/healthcheck"
)

// TestOldTLS: a server that speaks only what is no longer spoken is refused with a reason
// that says what would let it pass, and passes with that.
func TestOldTLS(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "old"}, NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	for _, c := range []struct {
		name     string
		settings *tls.Config
		want     string
	}{
		{"RSA key exchange", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}, "RSA key exchange"},
		{"3DES", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA}}, "the cipher TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"},
		{"1.0", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, "TLS 1.0"},
		{"1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "TLS 1.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := c.settings.Clone()
			settings.Certificates = []tls.Certificate{pair}
			secure := func(c net.Conn) {
				secured := tls.Server(c, settings)
				if secured.Handshake() == nil {
					talk("", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")(secured)
				}
			}
			server := listen(t, secure)
			ask := func(compat, version string) healthcheck.Check {
				return healthcheck.Check{Ask: healthcheck.HTTPS{Version: version, TLS: healthcheck.TLS{Insecure: true, Compat: compat}}}
			}
			refused := "fail: the server offers " + c.want + " only; tls_compat = \"old\" allows it"
			for _, version := range []string{"1.1", "auto"} {
				if got := probe(t, server, ask("", version)); got != refused {
					t.Errorf("%s: got %q, want %q", version, got, refused)
				}
				if got := probe(t, server, ask("old", version)); got != "ok: status 200" {
					t.Errorf("%s: got %q with the key", version, got)
				}
			}
			mail := listen(t, func(c net.Conn) {
				buf := make([]byte, 512)
				for _, text := range []string{"220 mx\r\n", "250-mx\r\n250 STARTTLS\r\n", "220 go\r\n"} {
					io.WriteString(c, text)
					if text != "220 go\r\n" {
						c.Read(buf)
					}
				}
				secured := tls.Server(c, settings)
				if secured.Handshake() == nil {
					talk("", "250 mx\r\n", "221 bye\r\n")(secured)
				}
			})
			smtp := healthcheck.SMTP{Security: "starttls", TLS: healthcheck.TLS{Insecure: true}}
			got := probe(t, mail, healthcheck.Check{Ask: smtp})
			t.Log(got)
			if want := "; if the server is old, tls_compat = \"old\" may help"; len(got) < len(want) || got[len(got)-len(want):] != want {
				t.Errorf("got %q, want %q at its end", got, want)
			}
			smtp.Compat = "old"
			if got := probe(t, mail, healthcheck.Check{Ask: smtp}); got != "ok: 220 mx" {
				t.Errorf("got %q with the key", got)
			}
		})
	}
}
