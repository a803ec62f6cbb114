package healthcheck_test

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"layeh.com/radius"

	"lvsha/healthcheck"
)

// TestStrangeDatagrams: a datagram that is no answer to the question may be anybody's: it
// neither passes nor fails a check, and a check that hears nothing else says so.
func TestStrangeDatagrams(t *testing.T) {
	const secret = "shared secret"
	answers := map[string]func([]byte) []byte{
		"dns": func(asked []byte) []byte {
			q := new(dns.Msg)
			if err := q.Unpack(asked); err != nil {
				t.Error(err)
			}
			out, _ := new(dns.Msg).SetRcode(q, dns.RcodeNameError).Pack()
			return out
		},
		"sip": func(asked []byte) []byte {
			_, id, _ := strings.Cut(string(asked), "Call-ID: ")
			id, _, _ = strings.Cut(id, "\r\n")
			return []byte("SIP/2.0 200 OK\r\nCall-ID: " + id + "\r\n\r\n")
		},
		"radius": func(asked []byte) []byte {
			p, err := radius.Parse(asked, []byte(secret))
			if err != nil {
				t.Error(err)
				return nil
			}
			out, _ := p.Response(radius.CodeAccessAccept).Encode()
			return out
		},
	}
	other := func(kind string, b []byte) []byte { // the answer to another question
		b = bytes.Clone(b)
		switch kind {
		case "dns":
			b[0] ^= 1
		case "radius":
			b[1] ^= 1
		default:
			b = bytes.Replace(b, []byte("Call-ID: "), []byte("Call-ID: x"), 1)
		}
		return b
	}
	asks := map[string]healthcheck.Question{
		"dns": healthcheck.DNS{Name: ".", Record: "SOA", Rcode: "NXDOMAIN"}, "sip": healthcheck.SIP{}, "radius": healthcheck.RADIUS{Secret: secret},
	}
	for kind, ask := range asks {
		for name, c := range map[string]struct {
			strange []string
			other   bool
			want    string
		}{
			"empty":          {strange: []string{""}, want: "only answers that are not "},
			"short":          {strange: []string{"\x00", "x"}, want: "only answers that are not |answer is not "},
			"garbage":        {strange: []string{"HTTP/1.1 400 Bad Request\r\n\r\n"}, want: "answers that are not |answer is not "},
			"another answer": {other: true, want: "only answers to other questions"},
			"both":           {strange: []string{"\x01"}, other: true, want: "only answers that are not |answer is not "},
			"many":           {strange: []string{strings.Repeat("\xff", 300), "\x00\x00\x00", strings.Repeat("\x00", 11)}, want: "only answers that are not |answer is not "},
		} {
			for _, answered := range []bool{true, false} {
				if name == "garbage" && kind == "dns" {
					c.want = "only answers to other questions|only answers that are not "
				}
				t.Run(kind+" "+name, func(t *testing.T) {
					t.Parallel()
					l, err := net.ListenPacket("udp", "127.0.0.1:0")
					if err != nil {
						t.Fatal(err)
					}
					done := make(chan struct{})
					go func() {
						defer close(done)
						buf := make([]byte, 4096)
						n, from, err := l.ReadFrom(buf)
						if err != nil {
							return
						}
						right := answers[kind](buf[:n])
						for _, text := range c.strange {
							l.WriteTo([]byte(text), from)
						}
						if c.other {
							l.WriteTo(other(kind, right), from)
						}
						if answered {
							l.WriteTo(right, from)
						}
					}()
					probe, err := ask.Prepare()
					if err != nil {
						t.Fatal(err)
					}
					timeout := 500 * time.Millisecond
					if answered {
						timeout = 10 * time.Second
					}
					_, err = probeOnce(t, probe, ask, addrPort(l.LocalAddr().String()), timeout)
					l.Close()
					<-done
					switch {
					case answered && err != nil:
						t.Errorf("the right answer came too, and got %v", err)
					case answered:
					case err == nil:
						t.Error("passed")
					default:
						found := false
						for want := range strings.SplitSeq(c.want, "|") {
							found = found || strings.Contains(err.Error(), want)
						}
						if !found {
							t.Errorf("got %v, want %q", err, c.want)
						}
					}
				})
			}
		}
	}
}
