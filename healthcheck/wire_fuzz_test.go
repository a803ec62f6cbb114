package healthcheck_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/miekg/dns"

	"lvsha/healthcheck"
	"lvsha/internal/plain"
)

// wire fuzzes what a kind of check reads of a server: nothing panics, and what comes of it
// has bounds.
func wire(f *testing.F, kind string, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		err := healthcheck.Converse(kind, b)
		if err == nil {
			return
		}
		if shown := plain.Text(err.Error(), plain.Most); !utf8.ValidString(shown) || len(err.Error()) > 4<<10 {
			t.Errorf("a reason of %d octets: %.200q", len(err.Error()), err)
		}
	})
}

func FuzzLDAP(f *testing.F) {
	wire(f, "ldap", ldapSays(1, 4, ldapEntryOf("cn", "x", "y"))+ldapSays(1, 5, ldapResult(0)), ldapSays(1, 5, ldapResult(32)), ldapSays(0, 24, ldapResult(52)),
		"\x30\x03\x02\x01\x01", "\x30\x84\xff\xff\xff\xff", "\x30\x80", "\x30\x05\x02\x08\x01\x01\x01")
}

func FuzzMySQL(f *testing.F) {
	hello := mysqlPackets(0, mysqlHello("mysql_native_password"))
	wire(f, "mysql", hello+mysqlPackets(2, "\x00\x00\x00\x02\x00\x00\x00")+mysqlPackets(1, "\x01", "def", "\xfe\x00\x00\x02\x00", "\x011", "\xfe\x00\x00\x02\x00"),
		hello+mysqlPackets(2, "\xfecaching_sha2_password\x00aaaaaaaaaaaaaaaaaaaa\x00")+mysqlPackets(4, "\x01\x04", "\x01-----BEGIN PUBLIC KEY-----\n"),
		mysqlPackets(0, mysqlHello("client_ed25519")), mysqlPackets(0, "\xff\x15\x04#28000no"), "\x02\x00\x00\x00\x0a\x00", hello+mysqlPackets(2, "\xfe"))
}

func FuzzPostgres(f *testing.F) {
	wire(f, "postgres", pgLogin+pgRow, pgSays('R', "\x00\x00\x00\x03")+pgLogin, pgSays('R', "\x00\x00\x00\x05salt")+pgLogin,
		pgSays('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00")+pgSays('R', "\x00\x00\x00\x0br=x,s=c2FsdA==,i=1"), pgSays('E', "Mno\x00C28P01\x00\x00"), "R\x00\x00\x00\x00", "D\xff\xff\xff\xff")
}

func FuzzDNS(f *testing.F) {
	q := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
	for _, text := range []string{"www.example.com. 1 IN A 192.0.2.1", "www.example.com. 1 IN TXT \"a\"", "www.example.com. 1 IN SVCB 1 . alpn=h2", "www.example.com. 1 IN CNAME a.example.com."} {
		record, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		answer := new(dns.Msg).SetReply(q)
		answer.Answer = append(answer.Answer, record)
		b, err := answer.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	loop := binary.BigEndian.AppendUint16([]byte{0, 1, 0x80, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, 0xc00c)
	wire(f, "dns", string(loop), strings.Repeat("\x00", 12))
}

func FuzzHTTP1(f *testing.F) {
	wire(f, "http", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\n\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\nHTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		"ICY 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n folded\r\n: x\r\nLocation: /\r\n\r\n")
}

func FuzzRedis(f *testing.F) {
	wire(f, "redis", "*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n$1\r\nv\r\n", "+PONG\r\n", "-ERR no\r\n", "$-1\r\n", "*1000\r\n*1000\r\n", "$262145\r\n")
}

func FuzzIMAP(f *testing.F) {
	wire(f, "imap", "* OK ready\r\n+ go\r\nT1 OK in\r\n", "* PREAUTH hi\r\n", "* OK a\r\n* x {5}\r\nhello there\r\n+\r\nT1 NO [X] no\r\n", "* BYE no\r\n", "* OK {99999999999}\r\n")
}

func FuzzSMTP(f *testing.F) {
	wire(f, "smtp", "250-a\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n334 VXNlcm5hbWU6\r\n334 x\r\n235 in\r\n", "500 what\r\n250 a\r\n", "250\r\n", "421 no\r\n", "25")
}

func FuzzFTP(f *testing.F) {
	wire(f, "ftp", "229 Entering Extended Passive Mode (|||6446|)\r\n", "500 what\r\n227 Entering Passive Mode (192,0,2,21,25,46)\r\n", "500 a\r\n227 )(\r\n", "229-a\r\nb\r\n229 (|||0|)\r\n")
}

func FuzzSIP(f *testing.F) {
	wire(f, "sip", "SIP/2.0 200 OK\r\nCall-ID: a\r\nContent-Length: 0\r\n\r\n", "\r\n\r\nSIP/2.0 404\r\ni: a\r\nl: 99999999999\r\n\r\n", "SIP/2.0 -12 x\r\n\r\n")
}
