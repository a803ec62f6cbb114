package healthcheck

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
)

const (
	// bodyLimit bounds how much of an answer's body is searched.
	bodyLimit = 64 << 10
	// headerLimit bounds an answer's header.
	headerLimit = 64 << 10
)

// dialer connects without keep-alive probes: no connection lives long enough.
var dialer = net.Dialer{KeepAlive: -1}

// probeHTTP makes one request over a connection of its own. Redirects are
// answers, not followed; nothing is cached, proxied or compressed.
func probeHTTP(ctx context.Context, t Target) (string, error) {
	var doing atomic.Value
	doing.Store("connecting")
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { doing.Store("negotiating TLS") },
		GotConn:           func(httptrace.GotConnInfo) { doing.Store("waiting for the answer") },
	})
	why := func(err error) error {
		if isTimeout(err) {
			return &timeoutError{after: t.Check.Timeout, doing: doing.Load().(string)}
		}
		return httpError(err, t)
	}

	req, err := newRequest(ctx, t)
	if err != nil {
		return "", err
	}
	// A transport of its own costs less than it seems: without idle connections it
	// holds nothing once the answer is closed.
	transport := &http.Transport{
		// The transport detaches its dialling from the request, so that a connection
		// can serve another one: a connect or a handshake would outlive the probe. So
		// the probe's own context bounds the one, a deadline on the connection the
		// other.
		DialContext: func(_ context.Context, network, _ string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, t.Server.String())
			if err != nil {
				return nil, err
			}
			if deadline, ok := ctx.Deadline(); ok {
				conn.SetDeadline(deadline) // fails on a closed connection only
			}
			return conn, nil
		},
		TLSClientConfig:        &tls.Config{ServerName: serverName(t), InsecureSkipVerify: t.Check.Insecure},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: headerLimit,
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return "", why(err)
	}
	defer res.Body.Close()

	accepted, err := ParseStatus(t.Check.Status)
	if err != nil {
		return "", err
	}
	if !accepted.Contains(res.StatusCode) {
		return "", fmt.Errorf("status %d, want %s", res.StatusCode, accepted)
	}
	if t.Check.Body != "" {
		doing.Store("reading the body")
		found, err := contains(io.LimitReader(res.Body, bodyLimit), []byte(t.Check.Body))
		switch {
		case found:
		case err != nil:
			return "", why(err)
		default:
			return "", fmt.Errorf("body lacks %q", t.Check.Body)
		}
	}
	return "status " + strconv.Itoa(res.StatusCode), nil
}

func newRequest(ctx context.Context, t Target) (*http.Request, error) {
	method := t.Check.Method
	if method == "" {
		method = DefaultMethod
	}
	u, err := url.ParseRequestURI(t.Check.path())
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", t.Check.Path, errors.Unwrap(err))
	}
	u.Scheme, u.Host = t.Check.Kind, t.Server.String()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	req.Host = t.Check.Host
	req.Header.Set("User-Agent", "lvsha")
	return req, nil
}

// serverName is what the certificate must be for: the host without its port, or
// the server's address.
func serverName(t Target) string {
	if t.Check.Host == "" {
		return t.Server.Addr().String()
	}
	if host, _, err := net.SplitHostPort(t.Check.Host); err == nil {
		return host
	}
	return t.Check.Host
}

// httpError makes a reason of what net/http returned.
func httpError(err error, t Target) error {
	var (
		op      *net.OpError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unknown), errors.As(err, &name), errors.As(err, &invalid):
		return fmt.Errorf("certificate: %s", strings.TrimPrefix(innermost(err).Error(), "x509: "))
	case errors.As(err, &record):
		return errors.New("answer is not TLS")
	case errors.As(err, &op) && op.Op == "dial":
		return dialError(err, t)
	case errors.As(err, &op):
		return fmt.Errorf("connection lost: %w", innermost(err))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("connection closed without a complete answer")
	}
	text := err.Error()
	if _, after, ok := strings.Cut(text, "malformed HTTP "); ok {
		return errors.New("answer is not HTTP: malformed " + printable(after))
	}
	if i := strings.LastIndex(text, "net/http: "); i >= 0 {
		text = text[i+len("net/http: "):]
	}
	return errors.New(printable(text))
}

// innermost is the error at the bottom of a chain.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// contains reads r until want has been seen.
func contains(r io.Reader, want []byte) (bool, error) {
	buf := make([]byte, 0, 4096)
	for {
		if len(buf) == cap(buf) {
			// Only the tail can still be the beginning of want.
			tail := min(len(buf), len(want)-1)
			grown := make([]byte, tail, max(4096, 2*len(want)))
			copy(grown, buf[len(buf)-tail:])
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case bytes.Contains(buf, want):
			return true, nil
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		}
	}
}
