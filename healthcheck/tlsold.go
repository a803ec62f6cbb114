package healthcheck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// tlsOld is the value of tls_compat for old servers.
const tlsOld = "old"

// allowOld allows all that this program can speak.
func allowOld(settings *tls.Config) {
	settings.MinVersion = tls.VersionTLS10
	settings.CipherSuites = nil
	for _, list := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, suite := range list {
			settings.CipherSuites = append(settings.CipherSuites, suite.ID)
		}
	}
}

// diagnosisLasts is how long a server is not asked again what TLS it speaks.
const diagnosisLasts = time.Minute

// diagnose finds out whether a handshake failed because the server only speaks old TLS, by
// a second one with all that is allowed then; nil when that was not the reason. It verifies
// nothing and sends nothing.
func (c *tlsClient) diagnose(ctx context.Context, err error, conn net.Conn, t Target, settings *tls.Config) error {
	if c.settings.Compat == tlsOld || !unlikeMindedTLS(err) {
		return nil
	}
	if _, direct := conn.(*boundConn); !direct || c.indirect {
		// What led to TLS here would have to be done again.
		return fmt.Errorf("TLS failed: %s; if the server is old, tls_compat = \"old\" may help", printable(innermost(err).Error()))
	}
	if now := time.Now(); now.After(c.oldUntil) {
		c.old, c.oldUntil = c.spokenBy(ctx, t, settings), now.Add(diagnosisLasts)
	}
	return c.old
}

// unlikeMindedTLS reports whether an error is one of those by which two that have no TLS in
// common part.
func unlikeMindedTLS(err error) bool {
	if alert := alertText(err); alert != "" {
		switch alert {
		case "handshake failure", "protocol version not supported", "illegal parameter", "insufficient security level", "internal error":
			return true
		}
		return false
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return true
	}
	// The library's own verdict on a server's choice has no type.
	text := err.Error()
	return text == "tls: server selected unsupported protocol version 301" || text == "tls: server selected unsupported protocol version 302" ||
		text == "tls: server chose an unconfigured cipher suite"
}

// alertText is the text of the alert by which the other side refused TLS; empty for other
// errors. The library shows it in no other way.
func alertText(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return ""
	}
	return strings.TrimPrefix(op.Err.Error(), "tls: ")
}

// spokenBy asks a server what it speaks when all is allowed.
func (c *tlsClient) spokenBy(ctx context.Context, t Target, settings *tls.Config) error {
	conn, err := t.dial(ctx, "tcp")
	if err != nil {
		return nil
	}
	defer conn.Close()
	all := &tls.Config{ServerName: settings.ServerName, NextProtos: settings.NextProtos, InsecureSkipVerify: true}
	allowOld(all)
	out := tls.Client(conn, all)
	if out.HandshakeContext(ctx) != nil {
		return nil
	}
	state := out.ConnectionState()
	return fmt.Errorf("the server offers %s only; tls_compat = \"old\" allows it", oldTLS(state))
}

// oldTLS names what is old about a connection.
func oldTLS(state tls.ConnectionState) string {
	if state.Version < tls.VersionTLS12 {
		return tls.VersionName(state.Version)
	}
	switch state.CipherSuite {
	case tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA:
		return "RSA key exchange"
	}
	return "the cipher " + tls.CipherSuiteName(state.CipherSuite)
}
