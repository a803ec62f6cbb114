package healthcheck

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// sessionLimit bounds, in bytes, what is read of a server within one probe. No
// library gets more, whatever it would take.
const sessionLimit = 256 << 10

// headLimit is how much of how an answer began is kept, in bytes.
const headLimit = 200

// errTooLong is the reason for a server that says too much.
const errTooLong = errUnmet("answer is too long")

// session is a connection on which a protocol is spoken. Deadlines that are set on it
// count for nothing, since the connection ends with the probe; a server that says too
// much is cut off; and how the answer began and what broke the connection is kept for
// the reason. What it says is read in pieces that are no larger than what has arrived.
type session struct {
	net.Conn
	// in buffers what is read.
	in       *bufio.Reader
	target   Target
	protocol string
	// plausible tells whether the first bytes of an answer can be the protocol's.
	plausible func(head []byte) bool
	// secrets are kept out of reasons.
	secrets []Secret
	// doing is what the probe does now, such as "waiting for the greeting".
	doing string
	// strange says that datagrams were passed over that are not of the protocol, and others
	// that they answer another question: they may be anybody's.
	strange, others bool

	mu      sync.Mutex // guards what follows: a library may read in a goroutine of its own
	left    int
	head    []byte
	broken  error
	warning string
}

// open connects to the target's server, with TLS from the start if c is not nil.
// The error is ready to be shown.
func (t Target) open(ctx context.Context, network, protocol string, c *tlsClient) (*session, error) {
	conn, err := t.dial(ctx, network)
	if err != nil {
		return nil, err
	}
	s := &session{Conn: conn, target: t, protocol: protocol, left: sessionLimit, doing: "waiting for the greeting"}
	s.in = bufio.NewReaderSize(s, 4<<10)
	if c == nil {
		return s, nil
	}
	secured, warning, err := c.handshake(ctx, conn, t)
	if err != nil {
		conn.Close()
		return nil, err
	}
	s.Conn, s.warning = secured, warning
	return s, nil
}

// Read keeps how the answer begins, and ends it at the limit.
func (s *session) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head = append(s.head, b[:min(n, headLimit-len(s.head))]...)
	if s.left -= n; s.left < 0 {
		n, err = 0, errTooLong
	}
	s.breaks(err)
	return n, err
}

// breaks keeps the first error of the connection, but for what comes of this side
// closing it. The caller holds mu.
func (s *session) breaks(err error) {
	if err != nil && s.broken == nil && !errors.Is(err, net.ErrClosed) {
		s.broken = err
	}
}

// Write is part of net.Conn.
func (s *session) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.breaks(err)
	return n, err
}

// SetDeadline does nothing: the probe's own holds.
func (*session) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing: the probe's own holds.
func (*session) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing: the probe's own holds.
func (*session) SetWriteDeadline(time.Time) error { return nil }

// secure makes TLS of the session, of which the server has agreed to that.
func (s *session) secure(ctx context.Context, c *tlsClient) error {
	if s.in.Buffered() > 0 {
		return unmet("%d bytes in the clear came before TLS", s.in.Buffered())
	}
	s.doing, c.indirect = "negotiating TLS", true
	secured, warning, err := c.handshake(ctx, s.Conn, s.target)
	if err != nil {
		return err
	}
	s.Conn, s.warning = secured, warning
	return nil
}

// secured reports whether the session is TLS.
func (s *session) secured() bool {
	_, ok := s.Conn.(*tls.Conn)
	return ok
}

// answer is that of a probe that passed.
func (s *session) answer(format string, args ...any) Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Answer{Detail: s.discreet(printable(fmt.Sprintf(format, args...))), Warning: s.warning}
}

// greeting is the first line that the server said.
func (s *session) greeting() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	line, _, _ := bytes.Cut(s.head, []byte("\n"))
	return strings.TrimSpace(string(line))
}

// refused is the reason for an answer that says no.
func (s *session) refused(what, why string) error {
	return errors.New(s.discreet(what + " refused: " + printable(firstLine(why))))
}

// reason makes a reason of the error of a library, which says little of what the
// connection has to say about it.
func (s *session) reason(err error) error {
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.head) > 0 && s.plausible != nil && !s.plausible(s.head) {
		return s.lie()
	}
	var said errUnmet
	if errors.As(err, &said) || errors.Is(err, ErrInconclusive) || errors.Is(err, ErrTimeout) {
		return innermostReason(err)
	}
	if why := certificateError(err); why != nil {
		return why
	}
	// Some libraries keep no more than the text of an error.
	if _, why, ok := strings.Cut(err.Error(), "x509: "); ok {
		return errors.New("certificate: " + strings.TrimRight(why, ")"))
	}
	if errors.As(s.broken, &said) {
		return said
	}
	if isTimeout(err) {
		return s.target.failure(err, s.doing)
	}
	if alert := alertText(err); alert != "" {
		return fmt.Errorf("TLS refused: %s", alert)
	}
	if s.broken != nil {
		return s.target.failure(s.broken, s.doing)
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		return s.target.failure(err, s.doing)
	}
	if len(s.head) > 0 && s.plausible == nil {
		return s.lie()
	}
	return errors.New(s.discreet(fmt.Sprintf("answer is not %s: %s while %s", s.protocol, printable(firstLine(err.Error())), s.doing)))
}

// lie is the reason for an answer of another protocol. The caller holds mu.
func (s *session) lie() error {
	line, _, _ := bytes.Cut(bytes.TrimSpace(s.head), []byte("\n"))
	return errors.New(s.discreet(fmt.Sprintf("answer is not %s: \"%s\"", s.protocol, printable(strings.TrimSpace(string(line[:min(len(line), 60)]))))))
}

// discreet takes the secrets out of a text: some servers repeat what they were
// sent.
func (s *session) discreet(text string) string {
	return conceal(text, needles(shortSecret, s.secrets...))
}

// unlike is the reason for an answer that is not as it has to be.
func (s *session) unlike(format string, args ...any) error {
	return errors.New(s.discreet(fmt.Sprintf(format, args...)))
}

// firstLine is what a text says first.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(line)
}

// startsWith makes a plausible of the bytes that an answer can begin with.
func startsWith(chars string) func(head []byte) bool {
	return func(head []byte) bool { return strings.IndexByte(chars, head[0]) >= 0 }
}

// digits is the beginning of the answers of SMTP, FTP and NNTP.
const digits = "12345"

// words says what of a text cannot be part of a line of a protocol.
func words(key, text, example string) (out []Problem) {
	if strings.ContainsFunc(text, notInRequest) {
		out = append(out, Problem{Key: key, Message: fmt.Sprintf("want a word without blanks such as %q, got %q", example, text)})
	}
	return out
}

// login is what is wrong with a user and a password of a protocol that has them
// on a line.
func login(user string, password Secret) (out []Problem) {
	if user == "" && password != "" {
		out = append(out, Problem{Key: "password", Message: "needs user beside it"})
	}
	for _, part := range []struct{ key, text string }{{"user", user}, {"password", string(password)}} {
		if strings.ContainsAny(part.text, "\r\n\x00") {
			out = append(out, Problem{Key: part.key, Message: "want one line of text"})
		}
	}
	return out
}
