package healthcheck

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"

	"github.com/jlaffaye/ftp"
)

// FTP wants to log in, and to be sent a file if there is one.
type FTP struct {
	// Security is one of the ways to TLS, for the files too.
	Security string `key:"tls" oneof:"off,starttls,on"`
	// User and Password log in; empty is anonymous.
	User     string `key:"user"`
	Password Secret `key:"password"`
	// Path is the file that has to be there; empty is none.
	Path string `key:"path"`
	// Body must be contained in the beginning of the file; empty means anything
	// will do.
	Body string `key:"body"`
	TLS
}

var (
	_ Question  = FTP{}
	_ Validator = FTP{}
)

// Kind is "ftp".
func (FTP) Kind() string { return "ftp" }

// String is the file.
func (q FTP) String() string { return q.Path }

// Validate is part of Validator.
func (q FTP) Validate() []Problem {
	out := append(login(q.User, q.Password), q.problems()...)
	if strings.ContainsAny(q.Path, "\r\n\x00") {
		out = append(out, Problem{Key: "path", Message: "want one line of text"})
	}
	if q.Body != "" && q.Path == "" {
		out = append(out, Problem{Key: "body", Message: "needs path beside it"})
	}
	if len(q.Body) > textLimit {
		out = append(out, Problem{Key: "body", Message: fmt.Sprintf("want a text of 1 to %d bytes", textLimit)})
	}
	return out
}

// Prepare is part of Question.
func (q FTP) Prepare() (ProbeFunc, error) {
	if q.User == "" {
		q.User, q.Password = "anonymous", "lvsha@"
	}
	c := q.client()
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c) }, nil
}

func (q FTP) probe(ctx context.Context, t Target, c *tlsClient) (Answer, error) {
	s, err := t.open(ctx, "tcp", "FTP", onlyIf(q.Security == tlsOn, c))
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.plausible = startsWith(digits)
	if q.Password != "lvsha@" {
		s.secrets = []Secret{q.Password}
	}
	settings, err := s.tlsConfig(c)
	if err != nil {
		return Answer{}, err
	}
	// Many servers want the files' connections to resume the session of the first.
	settings.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	f := &files{ctx: ctx, control: s}
	options := []ftp.DialOption{ftp.DialWithDialFunc(f.dial)}
	switch q.Security {
	case tlsOn:
		f.settings = settings
		options = append(options, ftp.DialWithTLS(settings))
	case tlsStart:
		f.settings = settings
		options = append(options, ftp.DialWithExplicitTLS(settings))
	}
	server, err := ftp.Dial(t.Server.String(), options...)
	if err != nil {
		return Answer{}, s.lineReason("greeting", err)
	}
	defer server.Quit()
	s.doing = "logging in"
	if err := server.Login(q.User, string(q.Password)); err != nil {
		return Answer{}, s.lineReason("login", err)
	}
	if q.Path == "" {
		return s.answer("%s", s.greeting()), nil
	}
	return q.fetch(server, s, f)
}

// fetch reads the beginning of the file.
func (q FTP) fetch(server *ftp.ServerConn, s *session, f *files) (Answer, error) {
	s.doing = "waiting for the file"
	file, err := server.Retr(q.Path)
	if err != nil {
		if f.failed != nil {
			return Answer{}, fmt.Errorf("the file's connection: %w", f.failed)
		}
		return Answer{}, s.lineReason("file", err)
	}
	// Closing it would wait for the server to notice.
	defer f.data.Close()
	body := io.LimitReader(file, bodyLimit)
	if q.Body == "" {
		if _, err := body.Read(make([]byte, 1)); err != nil && err != io.EOF {
			return Answer{}, f.data.reason(err)
		}
		return s.answer("file %s is there", q.Path), nil
	}
	found, err := contains(body, []byte(q.Body))
	switch {
	case err != nil:
		return Answer{}, f.data.reason(err)
	case !found:
		return Answer{}, fmt.Errorf("file lacks %q", q.Body)
	}
	return s.answer("file %s is as wanted", q.Path), nil
}

// files makes the connections of a session: the first is the session itself,
// those that follow carry a file each.
type files struct {
	ctx      context.Context
	control  *session
	settings *tls.Config // nil without TLS
	used     bool
	data     *session
	failed   error
}

func (f *files) dial(network, address string) (net.Conn, error) {
	if !f.used {
		f.used = true
		return f.control, nil
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	t := f.control.target
	// The library takes the zone off.
	t.Server = netip.AddrPortFrom(t.Server.Addr(), to.Port())
	s, err := t.open(f.ctx, network, "FTP", nil)
	if err != nil {
		f.failed = err
		return nil, err
	}
	s.doing, s.plausible = "reading the file", func([]byte) bool { return true }
	f.data = s
	if f.settings == nil {
		return s, nil
	}
	return tls.Client(s, f.settings), nil
}
