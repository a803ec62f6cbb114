package healthcheck

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// An HTTP/1 client for checks, which want a status and perhaps a body. It takes answers
// that net/http refuses and that other checkers and browsers take, reads in the probe's own
// goroutine, and keeps of a header only what it uses.

const (
	// httpLine bounds, in bytes, the lines of an answer but for those of its header, which
	// headerLimit bounds.
	httpLine = 8 << 10
	// httpInterim bounds the interim answers (1xx) before an answer.
	httpInterim = 10
)

// http1 makes requests over one connection as long as it lasts.
type http1 struct {
	web    *web
	target Target
	// doing is what the probe does now.
	doing *atomic.Value
	// keep asks the server to leave the connection open.
	keep bool

	conn   net.Conn // nil when there is none
	in     *bufio.Reader
	state  *tls.ConnectionState
	served bool // an answer came over it
}

// RoundTrip is part of http.RoundTripper.
func (h *http1) RoundTrip(req *http.Request) (*http.Response, error) {
	for {
		again := h.conn != nil && h.served
		if h.conn == nil {
			if err := h.dial(req.Context()); err != nil {
				return nil, err
			}
		}
		res, err := h.exchange(req)
		if err != nil {
			h.Close()
			// A server may close a connection that it had left open.
			if again && errors.Is(err, errUnanswered) && req.Body == nil {
				continue
			}
			return nil, err
		}
		return res, nil
	}
}

// Close ends the connection.
func (h *http1) Close() {
	if h.conn != nil {
		h.conn.Close()
		h.conn = nil
	}
}

// dial connects: to the server, with TLS to it, or through it to another.
func (h *http1) dial(ctx context.Context) error {
	h.doing.Store(whileConnecting)
	conn, err := h.target.dialFor(ctx, "tcp", h.web.octets())
	if err != nil {
		return err
	}
	return h.use(ctx, conn)
}

// use makes of a connection what the requests need.
func (h *http1) use(ctx context.Context, conn net.Conn) (err error) {
	h.state, h.served = nil, false
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	in := bufio.NewReaderSize(conn, 4<<10)
	if h.web.tls == nil {
		h.conn, h.in = conn, in
		return nil
	}
	if h.web.through != nil {
		h.doing.Store("waiting for the proxy")
		if err := h.web.through.connect(conn, in); err != nil {
			return err
		}
	}
	h.doing.Store("negotiating TLS")
	secured, err := h.web.secure(ctx, conn, h.target)
	if err != nil {
		return err
	}
	state := secured.ConnectionState()
	h.conn, h.in, h.state = secured, bufio.NewReaderSize(secured, 4<<10), &state
	return nil
}

// errUnanswered is of a connection that ended before an answer began.
var errUnanswered = errors.New("connection closed without a complete answer")

// exchange sends a request and reads its answer up to the body.
func (h *http1) exchange(req *http.Request) (*http.Response, error) {
	h.doing.Store("waiting for the answer")
	req.Close = !h.keep
	write := req.Write
	if p := h.web.through; p != nil && h.web.tls == nil {
		write = req.WriteProxy
		if p.user != "" {
			req.Header.Set("Proxy-Authorization", p.login())
		}
	}
	// A server may answer before it has all of a request, and close.
	wrong := write(h.conn)
	res, more, err := readHTTP(h.in, req.Method)
	if err != nil {
		if wrong != nil && (errors.Is(err, errUnanswered) || errors.Is(err, net.ErrClosed)) {
			return nil, wrong
		}
		return nil, err
	}
	h.served = true
	res.Request, res.TLS = req, h.state
	res.Body = &http1Body{Reader: res.Body, of: h, more: more && h.keep && wrong == nil}
	return res, nil
}

// http1Body is the body of an answer.
type http1Body struct {
	io.Reader
	of *http1
	// more is whether another request may follow, and ended whether the body is read.
	more, ended bool
}

// Read is part of io.Reader.
func (b *http1Body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.ended = b.ended || errors.Is(err, io.EOF)
	return n, err
}

// Close leaves the connection to the next request if the body was read.
func (b *http1Body) Close() error {
	if !b.more || !b.ended {
		b.of.Close()
	}
	return nil
}

// readHTTP reads an answer up to its body, whose reader ends with it. more is whether
// another answer may follow on the connection.
//
// It is liberal (RFC 9112, 2.2 and 5 to 6, say how to be): lines may end in LF alone, the
// words of the first line may be apart, the last one missing, or stuck to the number; header lines without a
// colon are passed over, blanks before one are ignored and folded lines joined; of several
// lengths the largest counts, and one that is none does not, like a coding other than
// chunked; a body that nothing bounds ends with the connection.
func readHTTP(r *bufio.Reader, method string) (res *http.Response, more bool, err error) {
	left := headerLimit
	line := func() (string, error) {
		text, err := readLine(r, left)
		left -= len(text) + 1
		if errors.Is(err, errTooLong) {
			err = unmet("header is longer than %d KiB", headerLimit>>10)
		}
		return text, err
	}
	for range httpInterim {
		res, err := statusLine(r, line)
		if err != nil {
			return nil, false, err
		}
		length, chunked, keep, err := headerLines(res, line)
		if err != nil {
			return nil, false, err
		}
		code := res.StatusCode
		if code < 200 && code != http.StatusSwitchingProtocols {
			continue
		}
		switch {
		case method == http.MethodHead || code < 200 || code == http.StatusNoContent || code == http.StatusNotModified:
			res.Body = http.NoBody
		case chunked:
			res.Body = io.NopCloser(&chunkedBody{r: r})
		case length >= 0:
			res.Body, res.ContentLength = io.NopCloser(&lengthBody{r: r, left: length}), length
		default:
			res.Body, keep = io.NopCloser(r), false
		}
		return res, keep, nil
	}
	return nil, false, unmet("answer is not HTTP: %d interim answers and no final one", httpInterim)
}

// statusLine reads the first line of an answer.
func statusLine(r *bufio.Reader, line func() (string, error)) (*http.Response, error) {
	text := ""
	for text == "" { // what a body before it was longer by
		var err error
		if text, err = line(); err != nil {
			if errors.Is(err, io.EOF) {
				err = errUnanswered
			} else if errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF
			}
			return nil, err
		}
	}
	version, rest, _ := strings.Cut(strings.TrimLeft(text, " \t"), " ")
	fields := strings.Fields(rest)
	code := 0
	if len(fields) > 0 {
		code = codeOf(fields[0])
	}
	res := &http.Response{StatusCode: code, Proto: strings.ToUpper(version), ContentLength: -1, Header: make(http.Header, 1)}
	switch {
	case code < 100:
	case strings.HasPrefix(res.Proto, "HTTP/1."):
		res.ProtoMajor, res.ProtoMinor = 1, 1
		if res.Proto == "HTTP/1.0" {
			res.ProtoMinor = 0
		}
		return res, nil
	case strings.HasPrefix(res.Proto, "HTTP/"), res.Proto == "HTTP", res.Proto == "ICY":
		res.ProtoMajor = 1
		return res, nil
	}
	return nil, unmet("answer is not HTTP: malformed response %s", quote([]byte(text)))
}

// codeOf is the number of three digits that a word begins with; 0 when it does not.
func codeOf(word string) int {
	if len(word) < 3 || len(word) > 3 && word[3] >= '0' && word[3] <= '9' {
		return 0
	}
	n, err := strconv.ParseUint(word[:3], 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

// headerLines reads a header. It keeps what somebody looks at.
func headerLines(res *http.Response, line func() (string, error)) (length int64, chunked, keep bool, err error) {
	length, keep = -1, res.ProtoMinor == 1
	name, value := "", ""
	take := func() {
		value = strings.TrimSpace(value)
		switch name {
		case "location":
			res.Header.Set("Location", value)
		case "content-length":
			for part := range strings.SplitSeq(value, ",") {
				if n, err := strconv.ParseUint(strings.TrimSpace(part), 10, 63); err == nil {
					length = max(length, int64(n))
				}
			}
		case "transfer-encoding":
			chunked = chunked || listed(value, "chunked")
		case "connection", "proxy-connection":
			if listed(value, "close") {
				keep = false
			} else if listed(value, "keep-alive") {
				keep = true
			}
		}
		name = ""
	}
	for {
		text, err := line()
		if err != nil {
			return 0, false, false, err
		}
		if text == "" {
			take()
			return length, chunked, keep, nil
		}
		if text[0] == ' ' || text[0] == '\t' {
			value += " " + strings.TrimSpace(text)
			if len(value) > httpLine {
				value = value[:httpLine]
			}
			continue
		}
		take()
		before, after, found := strings.Cut(text, ":")
		if found {
			name, value = strings.ToLower(strings.TrimSpace(before)), after
		}
	}
}

// listed reports whether a list has a word, in whatever letters.
func listed(list, word string) bool {
	for part := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(part), word) {
			return true
		}
	}
	return false
}

// lengthBody is a body whose length is known.
type lengthBody struct {
	r    *bufio.Reader
	left int64
}

// Read is part of io.Reader.
func (b *lengthBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); b.left > 0 && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// chunkedBody is a body in chunks (RFC 9112, 7.1), with lines that may end in LF alone.
type chunkedBody struct {
	r       *bufio.Reader
	left    uint64 // of a chunk
	started bool
	ended   bool
}

// Read is part of io.Reader.
func (b *chunkedBody) Read(p []byte) (int, error) {
	if b.ended {
		return 0, io.EOF
	}
	if b.left == 0 {
		if err := b.next(); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		if b.ended {
			return 0, io.EOF
		}
	}
	n, err := b.r.Read(p[:min(uint64(len(p)), b.left)])
	b.left -= uint64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads what is before a chunk.
func (b *chunkedBody) next() error {
	if b.started {
		if line, err := readLine(b.r, httpLine); err != nil || line != "" {
			return cmpError(err, errChunk)
		}
	}
	b.started = true
	line, err := readLine(b.r, httpLine)
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(line, ";")
	if b.left, err = strconv.ParseUint(strings.TrimSpace(size), 16, 63); err != nil {
		return errChunk
	}
	if b.left > 0 {
		return nil
	}
	b.ended = true
	for range mostLines { // the trailer, which nobody looks at
		line, err := readLine(b.r, httpLine)
		if err != nil || line == "" {
			return nil // the body is complete
		}
	}
	return errTooLong
}

// errChunk is the reason for a body that is not what it says.
const errChunk = errUnmet("answer is not HTTP: malformed chunk")

// cmpError is the first of two errors that there is.
func cmpError(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// connect has the proxy make a tunnel to the other server.
func (p *through) connect(conn net.Conn, in *bufio.Reader) error {
	text := fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: lvsha\r\n", withPort("https", p.origin), withPort("https", p.origin))
	if p.user != "" {
		text += "Proxy-Authorization: " + p.login() + "\r\n"
	}
	if _, err := io.WriteString(conn, text+"\r\n"); err != nil {
		return err
	}
	res, _, err := readHTTP(in, http.MethodHead)
	switch {
	case err != nil:
		return err
	case res.StatusCode < 200 || res.StatusCode > 299:
		return unmet("tunnel refused: status %d", res.StatusCode)
	case in.Buffered() > 0:
		return unmet("answer is not HTTP: it came before the question")
	}
	return nil
}

// login is the value of Proxy-Authorization.
func (p *through) login() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(p.user+":"+string(p.password)))
}
