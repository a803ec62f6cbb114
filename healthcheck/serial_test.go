//go:debug x509negativeserial=1

package healthcheck_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"lvsha/healthcheck"
)

// TestNegativeSerial: a certificate whose serial number is negative, as some appliances have
// it, is taken by a check that takes any.
func TestNegativeSerial(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "old"}, NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	// The library makes none: version 3, and the number behind it.
	positive := []byte{0xa0, 0x03, 0x02, 0x01, 0x02, 0x02, 0x01, 0x01}
	if bytes.Count(der, positive) != 1 {
		t.Fatal("where is the serial number?")
	}
	der[bytes.Index(der, positive)+len(positive)-1] = 0x81
	server := listen(t, overTLS(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, talk("", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
	for _, compat := range []string{"", "old"} {
		ask := healthcheck.HTTPS{TLS: healthcheck.TLS{Insecure: true, Compat: compat}}
		if got := probe(t, server, healthcheck.Check{Ask: ask}); got != "ok: status 200" {
			t.Errorf("tls_compat %q: got %q", compat, got)
		}
	}
	ask := healthcheck.HTTPS{}
	if got := probe(t, server, healthcheck.Check{Ask: ask}); got == "ok: status 200" {
		t.Error("a check that takes good ones alone has taken it")
	}
}
