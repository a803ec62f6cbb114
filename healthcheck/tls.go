package healthcheck

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// TLS is how the kinds that speak TLS do so. The server's certificate is
// verified unless Insecure says otherwise.
type TLS struct {
	// CA is a file with the certificates of the authorities that are trusted;
	// empty means the system's.
	CA string `key:"ca"`
	// ClientCert and ClientKey are the files with the certificate that is shown to
	// the server, and its key; empty is none.
	ClientCert string `key:"client_cert"`
	ClientKey  string `key:"client_key"`
	// ServerName is the name that is asked for (SNI) and that the certificate must
	// be for; empty means the host, or the server's address.
	ServerName string `key:"server_name"`
	// Insecure accepts any certificate.
	Insecure bool `key:"insecure"`
	// ExpiryDays warns of a certificate that expires within so many days; 0 warns
	// of none.
	ExpiryDays int `key:"expiry_days" range:"0,3650"`
	// Compat is "old" for servers that speak no TLS of the last decade: versions 1.0 and
	// 1.1, RSA key exchange, and ciphers such as 3DES are allowed then.
	Compat string `key:"tls_compat" oneof:"modern,old"`
}

// defaultTLS warns two weeks before a certificate expires.
var defaultTLS = TLS{ExpiryDays: 14}

// problems are what is wrong with the settings.
func (c TLS) problems() (out []Problem) {
	for key, file := range map[string]string{"ca": c.CA, "client_cert": c.ClientCert, "client_key": c.ClientKey} {
		if file != "" && !strings.HasPrefix(file, "/") {
			out = append(out, Problem{Key: key, Message: fmt.Sprintf("want an absolute path, got %q", file)})
		}
	}
	if c.ServerName != "" && !validHost(c.ServerName) {
		out = append(out, Problem{Key: "server_name", Message: fmt.Sprintf("want a host name such as \"www.example.com\", got %q", c.ServerName)})
	}
	switch {
	case c.ClientCert != "" && c.ClientKey == "":
		out = append(out, Problem{Key: "client_cert", Message: "needs client_key beside it"})
	case c.ClientCert == "" && c.ClientKey != "":
		out = append(out, Problem{Key: "client_key", Message: "needs client_cert beside it"})
	}
	if c.Insecure && c.CA != "" {
		out = append(out, Problem{Key: "insecure", Message: "accepts any certificate, and ca says which ones; leave one of them out"})
	}
	return out
}

// tlsClient makes TLS connections as a TLS says. Its files are read again when
// they have changed.
type tlsClient struct {
	settings TLS
	// old is what was found out of a server that only speaks old TLS, asked until then.
	old      error
	oldUntil time.Time
	// indirect says that something other than connecting leads to TLS.
	indirect bool
	// sessions lets a further connection of a probe resume the first one's session; nil
	// lets none.
	sessions  tls.ClientSessionCache
	ca        watchedFile[*x509.CertPool]
	cert, key watchedFile[[]byte]
}

func (c TLS) client() *tlsClient {
	raw := func(b []byte) ([]byte, error) { return b, nil }
	return &tlsClient{
		settings: c,
		ca: watchedFile[*x509.CertPool]{path: c.CA, parse: func(b []byte) (*x509.CertPool, error) {
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM(b) {
				return nil, errors.New("no certificate in it")
			}
			return pool, nil
		}},
		cert: watchedFile[[]byte]{path: c.ClientCert, parse: raw},
		key:  watchedFile[[]byte]{path: c.ClientKey, parse: raw},
	}
}

// config is for one connection. name is the host whose certificate is wanted if
// the settings name none. An error is this machine's fault.
func (c *tlsClient) config(name string, protocols ...string) (*tls.Config, error) {
	if c.settings.ServerName != "" {
		name = c.settings.ServerName
	}
	out := &tls.Config{ServerName: name, InsecureSkipVerify: c.settings.Insecure, NextProtos: protocols, ClientSessionCache: c.sessions}
	if c.settings.Compat == tlsOld {
		allowOld(out)
	}
	var err error
	if c.settings.CA != "" {
		if out.RootCAs, err = c.ca.read(); err != nil {
			return nil, fmt.Errorf("%w: ca: %w", ErrInconclusive, err)
		}
	}
	if c.settings.ClientCert != "" {
		cert, err := c.cert.read()
		if err != nil {
			return nil, fmt.Errorf("%w: client_cert: %w", ErrInconclusive, err)
		}
		key, err := c.key.read()
		if err != nil {
			return nil, fmt.Errorf("%w: client_key: %w", ErrInconclusive, err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%w: client_cert: %w", ErrInconclusive, err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// handshake makes a TLS connection of conn. The warning is about the
// certificate.
func (c *tlsClient) handshake(ctx context.Context, conn net.Conn, t Target) (_ *tls.Conn, warning string, err error) {
	return c.handshakeAs(ctx, conn, t, t.certified())
}

// certified is what a certificate must be for if the settings name nothing else.
func (t Target) certified() string { return t.Server.Addr().WithZone("").String() }

// handshakeAs is handshake for another name than the server's address, and for protocols.
func (c *tlsClient) handshakeAs(ctx context.Context, conn net.Conn, t Target, name string, protocols ...string) (_ *tls.Conn, warning string, err error) {
	settings, err := c.config(name, protocols...)
	if err != nil {
		return nil, "", err
	}
	out := tls.Client(conn, settings)
	if err := out.HandshakeContext(ctx); err != nil {
		if why := c.diagnose(ctx, err, conn, t, settings); why != nil {
			return nil, "", tlsError{why}
		}
		return nil, "", tlsError{c.failure(overdue(ctx, err), t)}
	}
	return out, c.warning(out.ConnectionState(), time.Now()), nil
}

// tlsError is a reason why TLS failed, ready to be shown.
type tlsError struct{ error }

func (e tlsError) Unwrap() error { return e.error }

// tlsVersion names the version of a connection, such as "TLS 1.3".
func tlsVersion(conn *tls.Conn) string { return tls.VersionName(conn.ConnectionState().Version) }

// failure makes a reason of what went wrong in a handshake.
func (c *tlsClient) failure(err error, t Target) error {
	if why := certificateError(err); why != nil {
		return why
	}
	if alert := alertText(err); alert != "" {
		return fmt.Errorf("TLS refused: %s", alert)
	}
	return t.failure(err, "negotiating TLS")
}

// certificateError is the reason for a certificate that was refused; nil for
// other errors.
func certificateError(err error) error {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	if errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid) {
		return fmt.Errorf("certificate: %s", strings.TrimPrefix(innermost(err).Error(), "x509: "))
	}
	return nil
}

// warning is about a certificate that will expire.
func (c *tlsClient) warning(state tls.ConnectionState, now time.Time) string {
	if c.settings.ExpiryDays <= 0 || len(state.PeerCertificates) == 0 {
		return ""
	}
	// The first to expire ends the chain.
	first := state.PeerCertificates[0].NotAfter
	for _, cert := range state.PeerCertificates[1:] {
		if cert.NotAfter.Before(first) && len(state.VerifiedChains) > 0 {
			first = cert.NotAfter
		}
	}
	left := first.Sub(now)
	if left > time.Duration(c.settings.ExpiryDays)*24*time.Hour {
		return ""
	}
	if left <= 0 {
		return fmt.Sprintf("certificate expired on %s", first.UTC().Format(time.DateOnly))
	}
	return fmt.Sprintf("certificate expires in %d days, on %s", int(left.Hours()/24), first.UTC().Format(time.DateOnly))
}

// watchedFile is what a file holds, read again when the file has changed. It is
// for one goroutine at a time, as a target's probes are.
type watchedFile[T any] struct {
	path  string
	parse func([]byte) (T, error)

	seen os.FileInfo
	have T
}

// fileLimit bounds what is read of a file that the operator named.
const fileLimit = 1 << 20

func (f *watchedFile[T]) read() (T, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return f.have, err
	}
	if f.seen != nil && os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size() {
		return f.have, nil
	}
	if !info.Mode().IsRegular() || info.Size() > fileLimit {
		return f.have, fmt.Errorf("%s: want a file of at most %d bytes", f.path, fileLimit)
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return f.have, err
	}
	have, err := f.parse(text)
	if err != nil {
		return f.have, fmt.Errorf("%s: %w", f.path, err)
	}
	f.have, f.seen = have, info
	return f.have, nil
}
