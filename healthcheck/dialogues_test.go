package healthcheck_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/miekg/dns"
	"golang.org/x/net/http2"
	"layeh.com/radius"

	"lvsha/healthcheck"
)

// dialogue is a correct conversation of a kind of check with a server.
type dialogue struct {
	name string
	ask  healthcheck.Question
	// serve is the server's part over a stream; reply its answer to a datagram.
	serve func(net.Conn)
	reply func(asked []byte) []byte
	// costly says that a conversation takes a lot of arithmetic.
	costly bool
}

// talk is a server that says its first text and then one for each thing that the client
// says; an empty one is silence.
func talk(texts ...string) func(net.Conn) {
	return func(c net.Conn) {
		buf := make([]byte, 4096)
		for i, text := range texts {
			if i > 0 {
				if _, err := c.Read(buf); err != nil {
					return
				}
			}
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
		c.Read(buf)
	}
}

// answering is a server that answers one thing that the client says.
func answering(answer func(asked []byte) []byte) func(net.Conn) {
	return func(c net.Conn) {
		buf := make([]byte, 4096)
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		c.Write(answer(buf[:n]))
		c.Read(buf)
	}
}

// overTLS is a server over TLS from the first byte.
func overTLS(certificate tls.Certificate, serve func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		secured := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}})
		if secured.Handshake() == nil {
			serve(secured)
		}
	}
}

// dialogues are those of all kinds that ask servers.
func dialogues(t *testing.T) []dialogue {
	good, ca := certificate(t, time.Now().AddDate(1, 0, 0))
	trusted := healthcheck.TLS{CA: ca}
	page := healthcheck.Request{Method: "GET", Path: "/", Host: "www.example.com", Status: "200", Body: "ok"}
	moved := page
	moved.Redirects = 2
	document := page
	document.Body, document.JSON, document.JSONValue = "", "$.state[0]", "ok"
	digest := page
	digest.Body, digest.BodySHA256 = "", fmt.Sprintf("%x", sha256.Sum256([]byte("all ok")))
	matching := page
	matching.Body, matching.BodyRegex = "", "o[k]"
	sql := healthcheck.SQL{User: "u", Password: "passw0rd", Query: "SELECT 1", Value: "1", Plaintext: true}
	sum := sha256.Sum256([]byte{0, 1})
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	rows := mysqlPackets(1, "\x01", "\x03def\x00\x00\x00\x01v\x00\x0c\x3f\x00\x01\x00\x00\x00\x08\x81\x00\x00\x00\x00", "\xfe\x00\x00\x02\x00", "\x011", "\xfe\x00\x00\x02\x00")
	ok := "\x00\x00\x00\x02\x00\x00\x00"
	plainHTTP := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nall ok"
	greeted := func(c net.Conn, first string) {
		io.WriteString(c, first)
		c.Read(make([]byte, 512))
	}
	return []dialogue{
		{name: "agent", ask: healthcheck.Agent{}, serve: talk("up ready 75% # fine\n")},
		{name: "dns", ask: healthcheck.DNS{Name: "www.example.com", Record: "TXT"}, reply: dnsReply},
		{name: "dns tcp", ask: healthcheck.DNS{Transport: "tcp", Name: "www.example.com", Record: "TXT"}, serve: answering(func(asked []byte) []byte {
			b := dnsReply(asked[2:])
			return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
		})},
		{name: "ftp", ask: healthcheck.FTP{User: "u", Password: "passw0rd", Path: "/a", Body: "ok", Plaintext: true}, serve: func(c net.Conn) { ftpServer(c, false) }},
		{name: "ftp pasv", ask: healthcheck.FTP{Path: "/a"}, serve: func(c net.Conn) { ftpServer(c, true) }},
		{name: "grpc", ask: healthcheck.GRPC{}, serve: grpcServer},
		{name: "http", ask: healthcheck.HTTP{Request: page}, serve: talk("", plainHTTP)},
		{name: "http chunked", ask: healthcheck.HTTP{Request: matching}, serve: talk("", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Folded: a\r\n b\r\n\r\n4;x=y\r\nall \r\n2\r\nok\r\n0\r\nA: b\r\n\r\n")},
		{name: "http json", ask: healthcheck.HTTP{Request: document}, serve: func(c net.Conn) {
			c.Read(make([]byte, 4096))
			io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n{\"state\": [\"ok\", 1e3, null]}")
		}},
		{name: "http digest", ask: healthcheck.HTTP{Request: digest}, serve: talk("", plainHTTP)},
		{name: "http redirected", ask: healthcheck.HTTP{Request: moved}, serve: talk("", "HTTP/1.1 302 Found\r\nLocation: /a?b\r\nContent-Length: 0\r\n\r\n", plainHTTP)},
		{name: "http 2", ask: healthcheck.HTTP{Request: page, Version: "2"}, serve: func(c net.Conn) {
			new(http2.Server).ServeConn(c, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "all ok") })})
		}},
		{name: "https", ask: healthcheck.HTTPS{Request: page, Version: "1.1", TLS: healthcheck.TLS{CA: ca, ServerName: "127.0.0.1"}}, costly: true, serve: overTLS(good, talk("", plainHTTP))},
		{name: "http_proxy", ask: healthcheck.HTTPProxy{Request: page}, serve: talk("", plainHTTP)},
		{name: "http_proxy https", ask: healthcheck.HTTPProxy{Request: page, Scheme: "https", TLS: healthcheck.TLS{CA: ca, ServerName: "127.0.0.1"}}, costly: true, serve: func(c net.Conn) {
			c.Read(make([]byte, 4096))
			io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
			overTLS(good, talk("", plainHTTP))(c)
		}},
		{name: "imap", ask: healthcheck.IMAP{User: "u", Password: "pässw0rd", Plaintext: true}, serve: talk("* OK [CAPABILITY IMAP4rev1] ready\r\n", "+ go on\r\n",
			"* CAPABILITY IMAP4rev1\r\n* X {3}\r\nabc)\r\nT1 OK [CAPABILITY A] in\r\n", "* BYE\r\nT2 OK\r\n")},
		{name: "imap starttls", ask: healthcheck.IMAP{Security: "starttls", TLS: trusted}, costly: true, serve: func(c net.Conn) {
			greeted(c, "* OK ready\r\n")
			io.WriteString(c, "T1 OK go\r\n")
			overTLS(good, talk("", "T2 OK\r\n"))(c)
		}},
		{name: "ldap", ask: healthcheck.LDAP{Plaintext: true, Directory: healthcheck.Directory{User: "cn=u", Password: "passw0rd", Attribute: "cn", Value: "b"}}, serve: talk("",
			ldapSays(1, 1, ldapResult(0)), ldapSays(2, 4, ldapEntryOf("cn", "a", "b"))+ldapSays(2, 19, []*ber.Packet{ldapText("ldap://x")})+ldapSays(2, 5, ldapResult(0)))},
		{name: "mysql", ask: healthcheck.MySQL{SQL: sql}, serve: talk(mysqlPackets(0, mysqlHello("caching_sha2_password")), mysqlPackets(2, "\x01\x03", ok), rows)},
		{name: "mysql switched", ask: healthcheck.MySQL{SQL: sql}, serve: talk(mysqlPackets(0, mysqlHello("mysql_native_password")),
			mysqlPackets(2, "\xfecaching_sha2_password\x00"+strings.Repeat("s", 20)+"\x00"), mysqlPackets(4, "\x01\x04"), mysqlPackets(6, "\x01"+public), mysqlPackets(8, ok), rows)},
		{name: "mysql ed25519", ask: healthcheck.MySQL{SQL: healthcheck.SQL{User: "u", Password: "passw0rd"}}, serve: talk(mysqlPackets(0, mysqlHello("client_ed25519")),
			mysqlPackets(2, "\xfeclient_ed25519\x00"+strings.Repeat("s", 32)), mysqlPackets(4, ok), mysqlPackets(1, ok))},
		{name: "nntp", ask: healthcheck.NNTP{User: "u", Password: "passw0rd", Group: "a.b", Plaintext: true}, serve: talk("200 ready\r\n", "381 more\r\n", "281 in\r\n", "211 3 1 3 a.b\r\n", "205 bye\r\n")},
		{name: "pop3", ask: healthcheck.POP3{User: "u", Password: "passw0rd", Plaintext: true}, serve: talk("+OK ready\r\n", "+OK\r\n", "+OK in\r\n", "+OK bye\r\n")},
		{name: "postgres", ask: healthcheck.Postgres{SQL: sql}, serve: talk("", "R\x00\x00\x00\x08\x00\x00\x00\x03", pgLogin, pgRow)},
		{name: "postgres md5", ask: healthcheck.Postgres{SQL: sql}, serve: talk("", "R\x00\x00\x00\x0c\x00\x00\x00\x05salt", pgLogin, pgRow)},
		{name: "postgres scram", ask: healthcheck.Postgres{SQL: sql}, serve: pgScram},
		{name: "radius", ask: healthcheck.RADIUS{Secret: "passw0rd", User: "u", Password: "passw0rd"}, reply: radiusReply},
		{name: "redis", ask: healthcheck.Redis{User: "u", Password: "passw0rd", Role: "replica", Key: "k", Value: "v", Plaintext: true}, serve: talk("", "+OK\r\n", "+PONG\r\n",
			"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:1\r\n", "$1\r\nv\r\n")},
		{name: "sip", ask: healthcheck.SIP{}, reply: sipReply},
		{name: "sip tcp", ask: healthcheck.SIP{Transport: "tcp"}, serve: answering(func(asked []byte) []byte {
			return append([]byte("SIP/2.0 100 Trying\r\nContent-Length: 3\r\n\r\nabc"), sipReply(asked)...)
		})},
		{name: "smtp", ask: healthcheck.SMTP{Helo: "localhost", User: "u", Password: "passw0rd", Method: "login", Plaintext: true}, serve: talk("220-a\r\n220 b\r\n", "250-mx\r\n250-SIZE 1\r\n250 AUTH PLAIN LOGIN\r\n",
			"334 VXNlcm5hbWU6\r\n", "334 UGFzc3dvcmQ6\r\n", "235 in\r\n", "221 bye\r\n")},
		{name: "smtp starttls", ask: healthcheck.SMTP{Helo: "localhost", Security: "starttls", TLS: trusted}, costly: true, serve: func(c net.Conn) {
			greeted(c, "220 mx\r\n")
			greeted(c, "250-mx\r\n250 STARTTLS\r\n")
			io.WriteString(c, "220 go\r\n")
			overTLS(good, talk("", "250 mx\r\n", "221 bye\r\n"))(c)
		}},
		{name: "tcp", ask: healthcheck.TCP{Send: "a", Expect: "all ok"}, serve: talk("", "it is all ok\r\n")},
		{name: "tcp regex", ask: healthcheck.TCP{ExpectRegex: "^it (is|was)+ all o[jk]"}, serve: talk("it is all ok\r\n")},
		{name: "tcp tls", ask: healthcheck.TCP{Encrypt: true, ExpectHex: healthcheck.Hex(fmt.Sprintf("%x", sum[:4])), TLS: trusted}, costly: true, serve: overTLS(good, talk(string(sum[:])))},
		{name: "udp", ask: healthcheck.UDP{ExpectRegex: "^a+b"}, reply: func([]byte) []byte { return []byte("aaab") }},
	}
}

func dnsReply(asked []byte) []byte {
	var m dns.Msg
	if m.Unpack(asked) != nil {
		return nil
	}
	out := new(dns.Msg).SetReply(&m)
	out.Compress = true
	for _, text := range []string{`www.example.com. 60 IN CNAME web.example.com.`, `web.example.com. 60 IN TXT "all ok" "\001\200"`} {
		r, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		out.Answer = append(out.Answer, r)
	}
	b, err := out.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

func radiusReply(asked []byte) []byte {
	p, err := radius.Parse(asked, []byte("passw0rd"))
	if err != nil {
		return nil
	}
	b, err := p.Response(radius.CodeAccessAccept).Encode()
	if err != nil {
		panic(err)
	}
	return b
}

func sipReply(asked []byte) []byte {
	out := bytes.NewBufferString("SIP/2.0 200 OK\r\n")
	for line := range bytes.SplitSeq(asked, []byte("\r\n")) {
		for _, name := range []string{"Via:", "From:", "To:", "Call-ID:", "CSeq:"} {
			if bytes.HasPrefix(line, []byte(name)) {
				fmt.Fprintf(out, "%s\r\n", line)
			}
		}
	}
	out.WriteString("Content-Length: 0\r\n\r\n")
	return out.Bytes()
}

// ftpServer has a file; an old one does not know EPSV.
func ftpServer(c net.Conn, old bool) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return
	}
	defer l.Close()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Second))
	port := l.Addr().(*net.TCPAddr).Port
	buf := make([]byte, 512)
	texts := []string{"220-a\r\n220 ready\r\n", "331 p\r\n", "230 in\r\n", "200 I\r\n", fmt.Sprintf("229 Entering Extended Passive Mode (|||%05d|)\r\n", port), "150 here\r\n"}
	if old {
		texts = slices.Replace(texts, 4, 5, "500 what\r\n", fmt.Sprintf("227 Entering Passive Mode (127,0,0,1,%03d,%03d)\r\n", port>>8, port&0xff))
	}
	for i, text := range texts {
		if i > 0 {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
	}
	data, err := l.Accept()
	if err != nil {
		return
	}
	io.WriteString(data, "all ok\n")
	data.Close()
	c.Read(buf)
}

func grpcServer(c net.Conn) {
	new(http2.Server).ServeConn(c, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		io.WriteString(w, "\x00\x00\x00\x00\x02\x08\x01")
		w.Header().Set("Grpc-Status", "0")
	})})
}

// mysqlPackets are packets from a number on.
func mysqlPackets(first int, bodies ...string) string {
	var out []byte
	for i, b := range bodies {
		out = append(out, byte(len(b)), byte(len(b)>>8), byte(len(b)>>16), byte(first+i))
		out = append(out, b...)
	}
	return string(out)
}

func mysqlHello(plugin string) string {
	return "\x0a8.0.1\x00\x01\x00\x00\x00saltsalt\x00\xff\xf7\x2d\x02\x00\xff\xdf\x15" + strings.Repeat("\x00", 10) + "saltsaltsalt\x00" + plugin + "\x00"
}

const (
	pgLogin = "R\x00\x00\x00\x08\x00\x00\x00\x00S\x00\x00\x00\x08a\x00b\x00K\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x00\x00\x02Z\x00\x00\x00\x05I"
	pgRow   = "1\x00\x00\x00\x042\x00\x00\x00\x04T\x00\x00\x00\x1a\x00\x01v\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00" +
		"D\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x011C\x00\x00\x00\x0dSELECT 1\x00Z\x00\x00\x00\x05I"
)

// pgSays is a message of PostgreSQL.
func pgSays(kind byte, b string) string {
	return string(append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(b))), b...))
}

// pgScram is a server that has the password passw0rd hashed 64 times.
func pgScram(c net.Conn) {
	buf := make([]byte, 4096)
	hear := func() string {
		n, _ := c.Read(buf)
		return string(buf[:n])
	}
	sum := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	hear()
	io.WriteString(c, pgSays('R', "\x00\x00\x00\x0aSCRAM-SHA-256-PLUS\x00SCRAM-SHA-256\x00\x00"))
	_, first, found := strings.Cut(hear(), "n,,")
	if !found {
		return
	}
	_, nonce, _ := strings.Cut(first, "r=")
	server := "r=" + nonce + "more,s=" + base64.StdEncoding.EncodeToString([]byte("salt")) + ",i=64"
	io.WriteString(c, pgSays('R', "\x00\x00\x00\x0b"+server))
	_, final, _ := strings.Cut(hear(), "c=")
	without, _, _ := strings.Cut("c="+final, ",p=")
	key := sum([]byte("passw0rd"), "salt\x00\x00\x00\x01")
	round := key
	for range 63 {
		round = sum([]byte("passw0rd"), string(round))
		mixed := bytes.Clone(key)
		for i := range mixed {
			mixed[i] ^= round[i]
		}
		key = mixed
	}
	signature := sum(sum(key, "Server Key"), first+","+server+","+without)
	io.WriteString(c, pgSays('R', "\x00\x00\x00\x0cv="+base64.StdEncoding.EncodeToString(signature))+pgLogin)
	hear()
	io.WriteString(c, pgRow)
	hear()
}

func ldapText(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func ldapResult(code int64) []*ber.Packet {
	return []*ber.Packet{ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""), ldapText(""), ldapText("fine")}
}

func ldapEntryOf(attribute string, values ...string) []*ber.Packet {
	pair, set, list := ber.NewSequence(""), ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, ""), ber.NewSequence("")
	for _, v := range values {
		set.AppendChild(ldapText(v))
	}
	pair.AppendChild(ldapText(attribute))
	pair.AppendChild(set)
	list.AppendChild(pair)
	return []*ber.Packet{ldapText("cn=x"), list}
}

// ldapSays is a message of LDAP.
func ldapSays(id int64, tag ber.Tag, parts []*ber.Packet) string {
	out, op := ber.NewSequence(""), ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	out.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	for _, p := range parts {
		op.AppendChild(p)
	}
	out.AppendChild(op)
	return string(out.Bytes())
}
