package healthcheck

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"syscall"
	"time"
)

// Counter shows the counter to tests.
type Counter struct{ c counter }

// NewCounter starts in a state.
func NewCounter(s State) *Counter {
	c := &Counter{}
	c.c.adopt(time.Time{}, s, initialReason(s))
	return c
}

// Observe takes one result.
func (c *Counter) Observe(now time.Time, ok bool, reason string, rise, fall int) bool {
	return c.c.observe(now, finding{ok: ok, reason: reason}, Check{Rise: rise, Fall: fall})
}

// ObserveCheck takes one result under a check.
func (c *Counter) ObserveCheck(now time.Time, ok bool, reason string, check Check) bool {
	return c.c.observe(now, finding{ok: ok, reason: reason}, check)
}

// Verdict is what has been concluded.
func (c *Counter) Verdict() Verdict { return c.c.verdict }

// The pure parts of the schedule.
var (
	NextDue = nextDue
	Phase   = phase
)

// Contains is the search of a body.
var Contains = contains

// Printable is what is done to foreign text.
var Printable = printable

// OwnFault marks what this machine is to blame for.
var OwnFault = ownFault

// Silent is whether a failure came without a sign of life.
var Silent = silent

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) { h.add(d) }

// HealthStatus decodes an answer of the health service of gRPC.
func HealthStatus(b []byte) (string, error) {
	var out healthStatus
	err := healthCodec{}.Unmarshal(b, &out)
	return out.String(), err
}

// Dial is how kinds of check connect.
func (t Target) Dial(ctx context.Context, network string) (net.Conn, error) {
	return t.dial(ctx, network)
}

// SourcePorts gives out source ports.
type SourcePorts = ports

// Pick picks one.
func (p *ports) Pick(path Path, now time.Duration) uint16 { return p.pick(path, now) }

// Socket is that of a connection that Dial made.
func Socket(conn net.Conn) (syscall.RawConn, error) {
	return conn.(*boundConn).Conn.(syscall.Conn).SyscallConn()
}

// Hear reports whether what a TCP check expects is said on a connection.
func Hear(q TCP, conn net.Conn) bool {
	d := dialogue{text: payload(q.Expect, q.ExpectHex)}
	if q.ExpectRegex != "" {
		d.regex = regexp.MustCompile(q.ExpectRegex)
	}
	heard, _ := d.hear(conn)
	return d.met(heard)
}

// said is a connection over which a server has said something, whatever it is told.
type said struct {
	net.Conn
	text *bytes.Reader
}

func (c said) Read(b []byte) (int, error)  { return c.text.Read(b) }
func (c said) Write(b []byte) (int, error) { return len(b), nil }
func (c said) Close() error                { return nil }
func (c said) LocalAddr() net.Addr         { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// Converse has a kind of check speak with a server that says a text, from where the kind
// begins to read.
func Converse(kind string, text []byte) error {
	ctx, at := context.Background(), Target{Server: netip.MustParseAddrPort("127.0.0.1:1"), Check: Check{Timeout: time.Second}}
	conn := said{text: bytes.NewReader(text)}
	s := &session{Conn: conn, target: at, protocol: kind, left: sessionLimit, secrets: []Secret{"passw0rd"}}
	s.in = bufio.NewReaderSize(s, 4<<10)
	sql := SQL{User: "u", Password: "passw0rd", Query: "SELECT 1", Value: "1", Plaintext: true}
	var err error
	switch kind {
	case "ldap":
		q := Directory{Filter: "(objectClass=*)", Attribute: "cn", Value: "x"}
		var n int
		var values []string
		if n, values, err = (&ldapDialogue{session: s}).search(q); err == nil {
			_, err = q.found(s, n, values)
		}
	case "mysql":
		d := &mysqlDialogue{session: s, sql: sql}
		got := ""
		if err = d.login(ctx, nil); err == nil {
			if got, err = d.query(sql.Query); err == nil {
				_, err = sql.met(s, got)
			}
		}
	case "postgres":
		d := &pgDialogue{session: s, sql: sql, made: &salted{}}
		got := ""
		if err = d.login(ctx); err == nil {
			if got, err = d.query(sql.Query); err == nil {
				_, err = sql.met(s, got)
			}
		}
	case "redis":
		if _, err = (Redis{}).role(s); err == nil {
			_, err = Redis{Key: "k", Value: "v"}.key(s)
		}
	case "imap":
		if _, err = s.imapGreeting(); err == nil {
			err = (&imapDialogue{session: s}).ask("login", "LOGIN", "u", "passw0rd\xff")
		}
	case "smtp":
		if _, err = (SMTP{Helo: "a"}).hello(s); err == nil {
			err = SMTP{User: "u", Password: "passw0rd", Method: "login"}.login(s)
		}
	case "ftp":
		_, err = s.passive()
	case "dns":
		var answer *dnsAnswer
		if answer, err = parseDNS(text); err == nil {
			_, err = DNS{Rcode: "NOERROR", Answer: "192.0.2.1"}.met(s, answer, regexp.MustCompile("^1"))
		}
	case "sip":
		_, err = readSIP(s.in)
	case "http":
		for range 3 { // on one connection
			var res *http.Response
			if res, _, err = readHTTP(s.in, http.MethodGet); err != nil {
				break
			}
			if _, err = io.Copy(io.Discard, io.LimitReader(res.Body, bodyLimit)); err != nil {
				break
			}
		}
	}
	return err
}
