package healthcheck

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
)

// HTTP wants an accepted answer to one request, or to each of several.
type HTTP struct {
	Request
	// Version is the version of HTTP: "1.1", or "2" with prior knowledge.
	Version string `key:"version" oneof:"1.1,2"`
	// Plaintext lets the password go over a connection without TLS.
	Plaintext bool `key:"plaintext"`
	// Then is what is asked after this on the same connection; nil is nothing.
	Then Question `key:"requests"`
}

// HTTPS is HTTP over TLS.
type HTTPS struct {
	Request
	// Version is the version of HTTP: "1.1", "2", or "auto" for what the server
	// prefers.
	Version string `key:"version" oneof:"1.1,2,auto"`
	TLS
	// Then is what is asked after this on the same connection; nil is nothing. Its
	// Version and TLS count for nothing.
	Then Question `key:"requests"`
}

var (
	_ Question  = HTTP{}
	_ Validator = HTTP{}
	_ Question  = HTTPS{}
	_ Validator = HTTPS{}
)

// Kind is "http".
func (HTTP) Kind() string { return "http" }

// Kind is "https".
func (HTTPS) Kind() string { return "https" }

// String is the host and the path.
func (q HTTP) String() string { return chainText(q.Request, q.Then) }

// String is the host and the path.
func (q HTTPS) String() string { return chainText(q.Request, q.Then) }

func chainText(first Request, then Question) string {
	if then == nil {
		return first.String()
	}
	return first.String() + ", " + then.String()
}

// Validate is part of Validator.
func (q HTTP) Validate() []Problem {
	out := q.validate()
	if q.Password != "" && !q.Plaintext {
		out = append(out, Problem{Key: "password", Message: "would go over the network in clear: use https, or plaintext = true if that is meant"})
	}
	return out
}

// Validate is part of Validator.
func (q HTTPS) Validate() []Problem { return append(q.validate(), q.problems()...) }

// Prepare is part of Question.
func (q HTTP) Prepare() (ProbeFunc, error) {
	return prepareWeb(&web{scheme: "http", version: q.Version}, q)
}

// Prepare is part of Question.
func (q HTTPS) Prepare() (ProbeFunc, error) {
	return prepareWeb(&web{scheme: "https", version: q.Version, tls: q.TLS.client()}, q)
}

func prepareWeb(w *web, q Question) (ProbeFunc, error) {
	for q != nil {
		var r Request
		switch this := q.(type) {
		case HTTP:
			r, q = this.Request, this.Then
		case HTTPS:
			r, q = this.Request, this.Then
		default:
			return nil, errors.New("what follows a request is another kind of check: " + q.Kind())
		}
		e, err := r.expectation()
		if err != nil {
			return nil, err
		}
		w.requests = append(w.requests, e)
	}
	return w.probe, nil
}

// web asks a web server.
type web struct {
	scheme, version string
	requests        []*expectation
	tls             *tlsClient // nil for http
	through         *through   // nil without a proxy
}

// probe makes the requests over a connection of its own. Nothing is cached or
// compressed.
func (w *web) probe(ctx context.Context, t Target) (Answer, error) {
	doing := new(atomic.Value)
	doing.Store(whileConnecting)
	carrier, closing, err := w.carrier(ctx, t, doing)
	var answer Answer
	if err != nil {
		return answer, w.reason(overdue(ctx, err), t, doing.Load().(string))
	}
	defer closing()
	ctx = traced(ctx, doing)
	for _, e := range w.requests {
		detail, warning, err := w.ask(ctx, carrier, t, e, doing)
		if err != nil {
			err = w.reason(overdue(ctx, err), t, doing.Load().(string))
			if len(w.requests) > 1 {
				err = fmt.Errorf("%s: %w", e.Path, err)
			}
			return Answer{}, err
		}
		answer.Detail = detail
		if warning != "" {
			answer.Warning = warning
		}
	}
	return answer, nil
}

// carrier is what carries the requests: HTTP/1, or HTTP/2 where the server has it and the
// check wants it. closing ends it.
func (w *web) carrier(ctx context.Context, t Target, doing *atomic.Value) (carrier http.RoundTripper, closing func(), err error) {
	keep := len(w.requests) > 1 || w.requests[0].Redirects > 0
	one := &http1{web: w, target: t, doing: doing, keep: keep}
	if w.version == "1.1" || w.version == "" {
		return one, one.Close, nil
	}
	if w.tls == nil || w.version == "2" {
		two := w.transport(ctx, t, nil, doing)
		return two, two.CloseIdleConnections, nil
	}
	conn, err := t.dialFor(ctx, "tcp", w.octets())
	if err != nil {
		return nil, nil, err
	}
	doing.Store("negotiating TLS")
	secured, err := w.secure(ctx, conn, t)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	state := secured.ConnectionState()
	if state.NegotiatedProtocol == "h2" {
		two := w.transport(ctx, t, secured, doing)
		return two, func() {
			two.CloseIdleConnections()
			secured.Close()
		}, nil
	}
	one.conn, one.in, one.state = secured, bufio.NewReaderSize(secured, 4<<10), &state
	return one, one.Close, nil
}

// octets bounds, in bytes, what is read over one connection.
func (w *web) octets() int {
	n := octetLimit
	for _, e := range w.requests {
		n += (1 + e.Redirects) * (headerLimit + bodyLimit)
		switch {
		case len(e.digest) > 0:
			n += 2 * digestLimit // it may come in small chunks
		case e.path != nil:
			n += 2 * jsonLimit
		}
	}
	return n
}

// secure makes a TLS connection for the requests.
func (w *web) secure(ctx context.Context, conn net.Conn, t Target) (*tls.Conn, error) {
	var protocols []string
	switch w.version {
	case "2":
		protocols = []string{"h2"}
	case "auto":
		protocols = []string{"h2", "http/1.1"}
	default:
		protocols = []string{"http/1.1"}
	}
	w.tls.indirect = w.through != nil
	secured, _, err := w.tls.handshakeAs(ctx, conn, t, serverName(w.requests[0].Host, t), protocols...)
	return secured, err
}

// traced keeps in doing what the requests of a context do.
func traced(ctx context.Context, doing *atomic.Value) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { doing.Store("waiting for the answer") },
	})
}

// transport carries HTTP/2 over one connection at most, if all goes well: over conn first if
// it is not nil. A transport reads in goroutines of its own, but it connects here.
func (w *web) transport(ctx context.Context, t Target, conn net.Conn, doing *atomic.Value) *http.Transport {
	dial := func() (out net.Conn, err error) {
		defer func() {
			if cause := recover(); cause != nil {
				out, err = nil, panicError{cause, debug.Stack()}
			}
		}()
		if conn != nil {
			out, conn = conn, nil
			return out, nil
		}
		// The transport tries again what timed out; the connection may have noticed
		// before the context does.
		if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
			return nil, context.DeadlineExceeded
		}
		if out, err = t.dialFor(ctx, "tcp", w.octets()); err != nil || w.tls == nil {
			return out, err
		}
		doing.Store("negotiating TLS")
		secured, err := w.secure(ctx, out, t)
		if err != nil {
			out.Close()
			return nil, err
		}
		return secured, nil
	}
	out := &http.Transport{
		// The transport detaches its dialling from the request, so that a connection
		// can serve another one: a connect or a handshake would outlive the probe. So
		// the probe's own context bounds them.
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return dial() },
		DialTLSContext:         func(context.Context, string, string) (net.Conn, error) { return dial() },
		DisableCompression:     true,
		MaxResponseHeaderBytes: headerLimit,
		Protocols:              new(http.Protocols),
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerConnection: http2Buffer, MaxReceiveBufferPerStream: http2Buffer},
	}
	out.Protocols.SetUnencryptedHTTP2(w.tls == nil)
	out.Protocols.SetHTTP2(w.tls != nil)
	return out
}

// http2Buffer is how much of an answer over HTTP/2 may wait, in bytes, to be read.
const http2Buffer = 256 << 10

// ask makes one request and follows its redirects.
func (w *web) ask(ctx context.Context, carrier http.RoundTripper, t Target, e *expectation, doing *atomic.Value) (detail, warning string, err error) {
	u, err := url.ParseRequestURI(e.Path)
	if err != nil {
		return "", "", unmet("path %q: %v", e.Path, innermost(err))
	}
	u.Scheme, u.Host = w.scheme, t.address().String()
	if w.through != nil {
		u.Host = w.through.origin
	}
	req := e.newRequest(u).WithContext(ctx)
	for hops := 0; ; hops++ {
		res, err := carrier.RoundTrip(req)
		if err != nil {
			return "", "", err
		}
		if res.TLS != nil && w.tls != nil {
			warning = w.tls.warning(*res.TLS, time.Now())
		}
		next, err := w.redirect(req, res, e, hops)
		if next == nil && err == nil {
			doing.Store("reading the body")
			detail, err = e.met(res)
		}
		if err == nil && (next != nil || e != w.requests[len(w.requests)-1]) {
			// What is left of a body, if it is little, is all that keeps the connection
			// from being used again.
			_, err = io.CopyN(io.Discard, res.Body, 4<<10)
			if errors.Is(err, io.EOF) {
				err = nil
			}
		}
		res.Body.Close()
		if err != nil || next == nil {
			return detail, warning, err
		}
		req = next
	}
}

// redirect is the request that an answer asks for, or nil when it is the answer.
func (w *web) redirect(req *http.Request, res *http.Response, e *expectation, hops int) (*http.Request, error) {
	to := res.Header.Get("Location")
	if res.StatusCode < 300 || res.StatusCode > 399 || to == "" || e.Redirects == 0 || e.accepted.Contains(res.StatusCode) {
		return nil, nil
	}
	if hops >= e.Redirects {
		return nil, unmet("redirected %d times, to %s", hops+1, printable(to))
	}
	u, err := req.URL.Parse(to)
	if err != nil {
		return nil, unmet("redirected to %s, which is no URL", printable(to))
	}
	// Another host may be another machine, and this check is about this one.
	if host := withPort(u.Scheme, u.Host); u.Scheme != w.scheme || host != withPort(w.scheme, req.URL.Host) && host != withPort(w.scheme, req.Host) {
		return nil, unmet("redirected to %s, which is not this server", printable(u.String()))
	}
	u.Host = req.URL.Host
	follow := e.newRequest(u)
	if res.StatusCode != http.StatusTemporaryRedirect && res.StatusCode != http.StatusPermanentRedirect && follow.Method != http.MethodHead {
		follow.Method, follow.Body, follow.ContentLength = http.MethodGet, nil, 0
	}
	return follow.WithContext(req.Context()), nil
}

// withPort is a host with the port of its scheme if it has none.
func withPort(scheme, host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), map[string]string{"http": "80", "https": "443"}[scheme])
}

// serverName is what the certificate must be for: the host without its port, or
// the server's address.
func serverName(host string, t Target) string {
	if host == "" {
		return t.address().Addr().WithZone("").String()
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// reason words what went wrong.
func (w *web) reason(err error, t Target, doing string) error {
	var (
		said   errUnmet
		op     *net.OpError
		record tls.RecordHeaderError
		broken tlsError
	)
	if errors.As(err, &said) || errors.Is(err, ErrInconclusive) || errors.Is(err, ErrTimeout) {
		// net/http wraps what dialling returned.
		return innermostReason(err)
	}
	if errors.As(err, &broken) {
		return broken
	}
	if isTimeout(err) {
		return t.failure(err, doing)
	}
	if alert := alertText(err); alert != "" {
		return fmt.Errorf("TLS refused: %s", alert)
	}
	var call *os.SyscallError
	switch {
	case errors.As(err, &record):
		return errors.New("answer is not TLS")
	case errors.As(err, &call) && call.Syscall == "connect":
		return call // it says whether anything was heard, and its text would not
	case errors.As(err, &op):
		return t.failure(err, doing)
	case errors.Is(err, errUnanswered), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errUnanswered
	}
	text := err.Error()
	// The library does not say whether it was closed or is of another protocol.
	if strings.Contains(text, "client conn could not be established") {
		return errors.New("connection closed or not HTTP/2")
	}
	if strings.Contains(text, "server closed idle connection") {
		return errUnanswered
	}
	if _, after, ok := strings.Cut(text, "http2: "); ok {
		return errors.New("answer is not HTTP/2: " + printable(after))
	}
	if i := strings.LastIndex(text, "net/http: "); i >= 0 {
		text = text[i+len("net/http: "):]
	}
	return errors.New(printable(text))
}

// overdue is err, or that the probe's time is over: what a connection has left of
// an answer by then looks like another error.
func overdue(ctx context.Context, err error) error {
	var said errUnmet
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) && !errors.As(err, &said) && !errors.Is(err, ErrTimeout) {
		return context.DeadlineExceeded
	}
	return err
}

// innermostReason takes the wrapping of libraries off a reason of ours.
func innermostReason(err error) error {
	var (
		said errUnmet
		late *timeoutError
	)
	switch {
	case errors.As(err, &said):
		return said
	case errors.As(err, &late):
		return late
	}
	return err
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
		before := len(buf)
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case bytes.Contains(buf[max(0, before-len(want)+1):], want):
			return true, nil
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		}
	}
}
