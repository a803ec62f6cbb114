package peer

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// alpn names the protocol, with the version of its frames.
const alpn = "lvsha/1"

var (
	errWrongKey = errors.New("presents a key that is not the one in the file")
	errProtocol = errors.New("speaks another protocol than " + alpn)
)

// certificate wraps a key, as TLS wants it. Nothing in it means anything but the key.
func certificate(key ed25519.PrivateKey) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lvsha"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// tlsConfig is that of both ends. accept says whether a pin is one that is
// expected; it is called before the other end has proved that the key is its own.
func tlsConfig(own tls.Certificate, accept func(Pin) error) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{own},
		MinVersion:   tls.VersionTLS13,
		MaxVersion:   tls.VersionTLS13,
		NextProtos:   []string{alpn},
		// The pin is what is verified, by VerifyConnection, at both ends.
		InsecureSkipVerify:     true,
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if state.NegotiatedProtocol != alpn {
				return errProtocol
			}
			if len(state.PeerCertificates) == 0 {
				return errWrongKey
			}
			public, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
			if !ok {
				return errWrongKey
			}
			return accept(Pin(public))
		},
	}
}
