package healthcheck_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/miekg/dns"
	"layeh.com/radius"
	"layeh.com/radius/rfc2865"

	"lvsha/healthcheck"
)

// packets answers datagrams on a loopback port until the test ends; nil is no
// answer.
func packets(t *testing.T, answer func(asked []byte) []byte) string {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buf := make([]byte, 65536); ; {
			n, from, err := l.ReadFrom(buf)
			if err != nil {
				return
			}
			if out := answer(buf[:n]); out != nil {
				l.WriteTo(out, from)
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.LocalAddr().String()
}

// TestPacketMisbehaviour is TestMisbehaviour over UDP.
func TestPacketMisbehaviour(t *testing.T) {
	kinds := []struct {
		name string
		ask  healthcheck.Question
	}{
		{"DNS", healthcheck.DNS{}},
		{"RADIUS", healthcheck.RADIUS{Secret: "passw0rd", User: "u", Password: "passw0rd"}},
		{"SIP", healthcheck.SIP{}},
	}
	for _, c := range []struct {
		name   string
		answer func([]byte) []byte
		want   string
	}{
		{"hanging", func([]byte) []byte { return nil }, "fail: timeout after 150ms while waiting for the answer"},
		{"lying", func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }, "fail: answer is not "},
		{"empty", func([]byte) []byte { return []byte{} }, "fail: answer is not "},
		{"an echo", func(b []byte) []byte { return b }, "fail: "},
	} {
		for _, k := range kinds {
			t.Run(c.name+" "+k.name, func(t *testing.T) {
				nothingLeft(t, func(t *testing.T) {
					got := probe(t, packets(t, c.answer), within(150*time.Millisecond, healthcheck.Check{Ask: k.ask}))
					t.Log(got)
					acceptableReason(t, got)
					// An answer to another question is no answer to DNS.
					if !strings.HasPrefix(got, c.want) && !strings.HasPrefix(got, "fail: timeout after") {
						t.Errorf("got %q, want %q", got, c.want)
					}
				})
			})
		}
	}
	for _, k := range kinds {
		l, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if got := probe(t, l.LocalAddr().String(), healthcheck.Check{Ask: k.ask}); !strings.HasSuffix(got, "refused") {
			t.Errorf("%s: got %q from a closed port", k.name, got)
		}
	}
}

func TestDNS(t *testing.T) {
	zone := map[string]string{
		"www.example.com. A":    "www.example.com. 60 IN A 192.0.2.1",
		"www.example.com. AAAA": "www.example.com. 60 IN AAAA 2001:db8::1",
		"example.com. TXT":      `example.com. 60 IN TXT "v=spf1 -all"`,
	}
	reply := func(asked []byte, truncate bool) []byte {
		var m dns.Msg
		if err := m.Unpack(asked); err != nil {
			t.Error(err)
			return nil
		}
		out := new(dns.Msg).SetReply(&m)
		text, ok := zone[m.Question[0].Name+" "+dns.TypeToString[m.Question[0].Qtype]]
		switch {
		case !m.RecursionDesired:
			out.Rcode = dns.RcodeRefused
		case strings.HasPrefix(m.Question[0].Name, "nodata"):
		case !ok:
			out.Rcode = dns.RcodeNameError
		case truncate:
			out.Truncated = true
		default:
			record, err := dns.NewRR(text)
			if err != nil {
				t.Error(err)
			}
			out.Answer = append(out.Answer, record)
		}
		b, err := out.Pack()
		if err != nil {
			t.Error(err)
		}
		return b
	}
	udp := packets(t, func(asked []byte) []byte { return reply(asked, false) })
	short := packets(t, func(asked []byte) []byte { return reply(asked, true) })
	tcp := listen(t, func(c net.Conn) {
		var length uint16
		if err := binary.Read(c, binary.BigEndian, &length); err != nil {
			return
		}
		asked := make([]byte, length)
		if _, err := io.ReadFull(c, asked); err != nil {
			return
		}
		b := reply(asked, false)
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	})
	www := healthcheck.DNS{Name: "www.example.com", Record: "A", Recursion: true}
	with := func(change func(*healthcheck.DNS)) healthcheck.DNS {
		q := www
		change(&q)
		return q
	}
	for _, c := range []struct {
		name   string
		ask    healthcheck.DNS
		server string
		want   string
	}{
		{"a", www, udp, "ok: A 192.0.2.1"},
		{"tcp", with(func(q *healthcheck.DNS) { q.Transport = "tcp" }), tcp, "ok: A 192.0.2.1"},
		{"aaaa", with(func(q *healthcheck.DNS) { q.Record, q.Answer = "AAAA", "2001:db8::1" }), udp, "ok: AAAA 2001:db8::1"},
		{"other answer", with(func(q *healthcheck.DNS) { q.Answer = "192.0.2.2" }), udp, "fail: answer is 192.0.2.1, want 192.0.2.2"},
		{"regex", with(func(q *healthcheck.DNS) { q.Name, q.Record, q.AnswerRegex = "example.com", "TXT", "^\"v=spf1" }), udp, `ok: TXT "v=spf1 -all"`},
		{"other regex", with(func(q *healthcheck.DNS) { q.AnswerRegex = "^10\\." }), udp, `fail: answer is 192.0.2.1, want a match of "^10\\."`},
		{"nxdomain", with(func(q *healthcheck.DNS) { q.Name = "not.example.com" }), udp, "fail: answer is NXDOMAIN, want NOERROR"},
		{"nxdomain is wanted", with(func(q *healthcheck.DNS) { q.Name, q.Rcode = "not.example.com", "NXDOMAIN" }), udp, "ok: NXDOMAIN"},
		{"nodata", with(func(q *healthcheck.DNS) { q.Name = "nodata.example.com" }), udp, "fail: answer has no record"},
		{"refused", with(func(q *healthcheck.DNS) { q.Recursion = false }), udp, "fail: answer is REFUSED, want NOERROR"},
		{"truncated", www, short, "fail: answer is truncated: transport tcp has it all"},
	} {
		if got := probe(t, c.server, healthcheck.Check{Ask: c.ask}); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestRADIUS(t *testing.T) {
	const secret = "shared secret"
	server := packets(t, func(asked []byte) []byte {
		p, err := radius.Parse(asked, []byte(secret))
		if err != nil {
			t.Error(err)
			return nil
		}
		code := radius.CodeAccessReject
		if p.Code == radius.CodeStatusServer || rfc2865.UserName_GetString(p) == "operator" && rfc2865.UserPassword_GetString(p) == "hunter2hunter2" {
			code = radius.CodeAccessAccept
		}
		out := p.Response(code)
		if code == radius.CodeAccessReject {
			rfc2865.ReplyMessage_SetString(out, "who is "+rfc2865.UserPassword_GetString(p)+"?")
		}
		b, err := out.Encode()
		if err != nil {
			t.Error(err)
		}
		return b
	})
	for _, c := range []struct {
		name string
		ask  healthcheck.RADIUS
		want string
	}{
		{"user", healthcheck.RADIUS{Secret: secret, User: "operator", Password: "hunter2hunter2"}, "ok: Access-Accept"},
		{"status", healthcheck.RADIUS{Secret: secret}, "ok: Access-Accept"},
		{"wrong password", healthcheck.RADIUS{Secret: secret, User: "operator", Password: "hunter3"}, "fail: login refused: who is (secret)?"},
		{"wrong secret", healthcheck.RADIUS{Secret: "other", User: "operator", Password: "hunter2hunter2"}, "fail: answer is not authentic: the secret may be another"},
	} {
		if got := probe(t, server, healthcheck.Check{Ask: c.ask}); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestSIP(t *testing.T) {
	answer := func(asked, status string) string {
		var out strings.Builder
		out.WriteString("SIP/2.0 " + status + "\r\n")
		for line := range strings.SplitSeq(asked, "\r\n") {
			for _, name := range []string{"Via:", "From:", "To:", "Call-ID:", "CSeq:"} {
				if strings.HasPrefix(line, name) {
					out.WriteString(line + "\r\n")
				}
			}
		}
		out.WriteString("Content-Length: 0\r\n\r\n")
		return out.String()
	}
	server := packets(t, func(asked []byte) []byte {
		if !strings.HasPrefix(string(asked), "OPTIONS sip:") {
			t.Errorf("asked %q", asked)
		}
		return []byte(answer(string(asked), "200 OK"))
	})
	busy := packets(t, func(asked []byte) []byte { return []byte(answer(string(asked), "503 Service Unavailable")) })
	stream := listen(t, func(c net.Conn) {
		buf := make([]byte, 4096)
		n, _ := c.Read(buf)
		for _, part := range strings.SplitAfter(answer(string(buf[:n]), "100 Trying")+answer(string(buf[:n]), "404 Not Found"), "\n") {
			io.WriteString(c, part)
		}
		io.Copy(io.Discard, c)
	})
	for _, c := range []struct {
		name   string
		ask    healthcheck.SIP
		server string
		want   string
	}{
		{"udp", healthcheck.SIP{}, server, "ok: status 200"},
		{"of a user", healthcheck.SIP{URI: "sip:bob@example.com", From: "sip:alice@example.com"}, server, "ok: status 200"},
		{"busy", healthcheck.SIP{}, busy, "fail: status 503 Service Unavailable, want 200"},
		{"tcp in pieces", healthcheck.SIP{Transport: "tcp", Status: "404"}, stream, "ok: status 404"},
	} {
		if got := probe(t, c.server, healthcheck.Check{Ask: c.ask}); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestLDAP(t *testing.T) {
	// directory answers a bind with a code, and a search with entries of one
	// attribute.
	directory := func(bind int64, entries ...string) string {
		return listen(t, func(c net.Conn) {
			for {
				asked, err := ber.ReadPacket(c)
				if err != nil || len(asked.Children) < 2 {
					return
				}
				id := asked.Children[0].Value.(int64)
				say := func(tag ber.Tag, fill func(*ber.Packet)) {
					out := ber.NewSequence("")
					out.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
					op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
					fill(op)
					out.AppendChild(op)
					c.Write(out.Bytes())
				}
				text := func(s string) *ber.Packet {
					return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
				}
				result := func(code int64, why string) func(*ber.Packet) {
					return func(op *ber.Packet) {
						op.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""))
						op.AppendChild(text(""))
						op.AppendChild(text(why))
					}
				}
				switch asked.Children[1].Tag {
				case 0:
					say(1, result(bind, "hunter2hunter2"))
				case 3:
					for _, e := range entries {
						say(4, func(op *ber.Packet) {
							op.AppendChild(text("cn=" + e))
							attribute, set := ber.NewSequence(""), ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
							set.AppendChild(text(e))
							attribute.AppendChild(text("cn"))
							attribute.AppendChild(set)
							list := ber.NewSequence("")
							list.AppendChild(attribute)
							op.AppendChild(list)
						})
					}
					say(5, result(0, ""))
				}
			}
		})
	}
	bound := healthcheck.Directory{User: "cn=lvsha", Password: "hunter2hunter2", DN: "cn=a"}
	for _, c := range []struct {
		name   string
		server string
		ask    healthcheck.Directory
		want   string
	}{
		{"found", directory(0, "a"), healthcheck.Directory{}, "ok: 1 entry found"},
		{"bound", directory(0, "a"), bound, "ok: 1 entry found"},
		{"wrong password", directory(49, "a"), bound, "fail: bind refused: invalid credentials: (secret)"},
		{"nothing", directory(0), healthcheck.Directory{}, "fail: 0 entries found, want 1"},
		{"two", directory(0, "a", "b"), healthcheck.Directory{}, "fail: 2 entries found, want 1"},
		{"attribute", directory(0, "a"), healthcheck.Directory{Attribute: "CN", Value: "a"}, "ok: CN is a"},
		{"other value", directory(0, "a"), healthcheck.Directory{Attribute: "cn", Value: "b"}, "fail: cn is a, want b"},
		{"no attribute", directory(0, "a"), healthcheck.Directory{Attribute: "sn"}, "fail: entry has no sn"},
	} {
		if got := probe(t, c.server, healthcheck.Check{Ask: healthcheck.LDAP{Directory: c.ask}}); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestMySQL(t *testing.T) {
	full := listen(t, func(c net.Conn) { io.WriteString(c, "\x17\x00\x00\x00\xff\x10\x04Too many connections") })
	got := probe(t, full, healthcheck.Check{Ask: healthcheck.MySQL{SQL: healthcheck.SQL{User: "u"}}})
	if want := "fail: login refused: 1040 Too many connections"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPostgres(t *testing.T) {
	// database answers a query with rows of one value.
	database := func(password string, rows ...string) string {
		return listen(t, func(c net.Conn) {
			c.SetDeadline(time.Now().Add(10 * time.Second))
			b := pgproto3.NewBackend(c, c)
			first, err := b.ReceiveStartupMessage()
			if _, ok := first.(*pgproto3.SSLRequest); ok && err == nil {
				io.WriteString(c, "N")
				_, err = b.ReceiveStartupMessage()
			}
			if err != nil {
				return
			}
			b.Send(&pgproto3.AuthenticationCleartextPassword{})
			b.Flush()
			said, err := b.Receive()
			if err != nil {
				return
			}
			if p, ok := said.(*pgproto3.PasswordMessage); !ok || p.Password != password {
				b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "password authentication failed for user \"u\""})
				b.Flush()
				return
			}
			b.Send(&pgproto3.AuthenticationOk{})
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			b.Flush()
			for {
				said, err := b.Receive()
				if err != nil {
					return
				}
				if _, ok := said.(*pgproto3.Sync); !ok {
					continue
				}
				b.Send(&pgproto3.ParseComplete{})
				b.Send(&pgproto3.BindComplete{})
				b.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("v"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}})
				for _, r := range rows {
					b.Send(&pgproto3.DataRow{Values: [][]byte{[]byte(r)}})
				}
				b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT")})
				b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
				b.Flush()
			}
		})
	}
	base := healthcheck.SQL{User: "u", Password: "hunter2hunter2", Plaintext: true}
	discreet := base
	discreet.Plaintext = false
	query := func(value string) healthcheck.SQL {
		q := base
		q.Query, q.Value = "SELECT v", value
		return q
	}
	secured := func(how string) healthcheck.SQL {
		q := base
		q.Security = how
		return q
	}
	for _, c := range []struct {
		name   string
		server string
		ask    healthcheck.SQL
		want   string
	}{
		{"login", database("hunter2hunter2"), base, "ok: logged in"},
		{"in clear", database("hunter2hunter2"), discreet, "fail: server wants the password in clear: tls = \"on\", or plaintext = true, lets it have that"},
		{"wrong password", database("other"), base, "fail: login refused: password authentication failed for user \"u\" (28P01)"},
		{"query", database("hunter2hunter2", "t", "f"), query(""), "ok: query answers t"},
		{"value", database("hunter2hunter2", "t"), query("t"), "ok: query answers t"},
		{"other value", database("hunter2hunter2", "f"), query("t"), "fail: query answers f, want t"},
		{"no row", database("hunter2hunter2"), query("t"), "fail: query answers no row"},
		{"many rows", database("hunter2hunter2", strings.Split(strings.Repeat("row,", 1000), ",")...), query("row"), "ok: query answers row"},
		{"without TLS", database("hunter2hunter2"), secured("on"), "fail: TLS is not offered"},
		{"optional TLS", database("hunter2hunter2"), secured("optional"), "ok: logged in"},
	} {
		nothingLeft(t, func(t *testing.T) {
			if got := probe(t, c.server, healthcheck.Check{Ask: healthcheck.Postgres{SQL: c.ask}}); got != c.want {
				t.Errorf("%s: got %q, want %q", c.name, got, c.want)
			}
		})
	}
}

func TestGRPC(t *testing.T) {
	health := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/grpc.health.v1.Health/Check" || req.Header.Get("Content-Type") != "application/grpc+proto" && req.Header.Get("Content-Type") != "application/grpc" {
			http.NotFound(w, req)
			return
		}
		asked, _ := io.ReadAll(req.Body)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		status := "0"
		switch service := string(asked[min(len(asked), 5):]); service {
		case "":
			w.Write([]byte("\x00\x00\x00\x00\x02\x08\x01"))
		case "\x0a\x03api":
			w.Write([]byte("\x00\x00\x00\x00\x02\x08\x02"))
		case "\x0a\x04junk":
			w.Write([]byte("\x00\x00\x00\x00\x02\x0f\xff"))
		case "\x0a\x04long":
			w.Write([]byte("\x00\x7f\xff\xff\xff\x08\x01"))
		default:
			status = "5"
		}
		w.Header().Set("Grpc-Status", status)
	})
	start := func(h http.Handler, secured bool) string {
		s := httptest.NewUnstartedServer(h)
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP2(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.EnableHTTP2 = true
		if secured {
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	clear, secured, other := start(health, false), start(health, true), start(http.NotFoundHandler(), false)
	for _, c := range []struct {
		name   string
		server string
		ask    healthcheck.GRPC
		want   string
	}{
		{"serving", clear, healthcheck.GRPC{}, "ok: SERVING"},
		{"not serving", clear, healthcheck.GRPC{Service: "api"}, "fail: status is NOT_SERVING, want SERVING"},
		{"not known", clear, healthcheck.GRPC{Service: "what"}, "fail: server knows no service \"what\""},
		{"tls", secured, healthcheck.GRPC{Security: "on"}, "ok: SERVING"},
		{"tls for another name", secured, healthcheck.GRPC{Security: "on", Host: "api.example.net"}, "fail: certificate: certificate is valid for "},
		{"no health service", other, healthcheck.GRPC{}, "fail: server offers no health service (grpc.health.v1)"},
		{"junk", clear, healthcheck.GRPC{Service: "junk"}, "fail: "},
		{"long", clear, healthcheck.GRPC{Service: "long"}, "fail: "},
	} {
		got := probe(t, c.server, healthcheck.Check{Ask: c.ask})
		t.Log(got)
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestHTTPProxy(t *testing.T) {
	origin := httptest.NewServer(web())
	t.Cleanup(origin.Close)
	secured := httptest.NewTLSServer(web())
	t.Cleanup(secured.Close)
	at := func(s *httptest.Server) string {
		u, err := url.Parse(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		return u.Host
	}
	// The proxy knows its own way to www.example.com.
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, password, _ := (&http.Request{Header: http.Header{"Authorization": req.Header["Proxy-Authorization"]}}).BasicAuth(); user != "u" || password != "p" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		if req.Method != http.MethodConnect {
			if !req.URL.IsAbs() || req.URL.Host != "www.example.com" {
				t.Errorf("the proxy is asked for %s", req.URL)
			}
			req.URL.Host, req.RequestURI = at(origin), ""
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			defer res.Body.Close()
			w.WriteHeader(res.StatusCode)
			io.Copy(w, res.Body)
			return
		}
		out, err := net.Dial("tcp", at(secured))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer out.Close()
		w.WriteHeader(http.StatusOK)
		in, ahead, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer in.Close()
		go io.Copy(out, ahead) // which may have been read already
		io.Copy(in, out)
	}))
	t.Cleanup(proxy.Close)
	server := proxy.Listener.Addr().String()
	page := healthcheck.Request{Method: "GET", Path: "/", Host: "www.example.com", Status: "200"}
	tls := page
	tls.Host = "www.example.com:443"
	ca := healthcheck.TLS{ServerName: "example.com"}
	for _, c := range []struct {
		name string
		ask  healthcheck.HTTPProxy
		want string
	}{
		{"page", healthcheck.HTTPProxy{Request: page, ProxyUser: "u", ProxyPassword: "p"}, "ok: status 200"},
		{"no password", healthcheck.HTTPProxy{Request: page}, "fail: status 407, want 200"},
		{"tunnel", healthcheck.HTTPProxy{Request: tls, Scheme: "https", ProxyUser: "u", ProxyPassword: "p", TLS: ca}, "ok: status 200"},
		{"tunnel without password", healthcheck.HTTPProxy{Request: tls, Scheme: "https", TLS: ca}, "fail: tunnel refused: status 407"},
		{"tunnel to another", healthcheck.HTTPProxy{Request: tls, Scheme: "https", ProxyUser: "u", ProxyPassword: "p", TLS: healthcheck.TLS{ServerName: "example.net"}}, "fail: certificate: "},
	} {
		if got := probe(t, server, healthcheck.Check{Ask: c.ask}); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestKindsOverIPv6 probes a server on ::1.
func TestKindsOverIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "220 mx\r\n")
			c.Close()
		}
	}()
	ask, err := healthcheck.SMTP{}.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := ask(ctx, healthcheck.Target{Server: netip.MustParseAddrPort(l.Addr().String())}); err == nil || !strings.HasPrefix(err.Error(), "connection ") {
		t.Errorf("got %v", err)
	}
}
