package healthcheck_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"lvsha/healthcheck"
)

// web is a server with a path for each kind of trouble.
func web() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "all is ok here") })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Method+" "+r.Host+" "+r.URL.String()+" "+r.UserAgent()+" "+r.Header.Get("Connection"))
	})
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://www.example.org/x", http.StatusFound)
	})
	mux.HandleFunc("/header", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("X-Probe")) })
	mux.HandleFunc("/private", func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "ada" || password != "lovelace" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	mux.HandleFunc("/sent", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body) // cut short if it fails
		io.WriteString(w, "got "+string(b))
	})
	mux.HandleFunc("/json", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"state": "degraded", "db": {"lag": 3}}`)
	})
	mux.HandleFunc("/nested", func(w http.ResponseWriter, r *http.Request) {
		pad := strings.Repeat("x", 90)
		io.WriteString(w, strings.Repeat(`["`+pad+`",`, 9990)+"1"+strings.Repeat("]", 9990))
	})
	mux.HandleFunc("/wide", func(w http.ResponseWriter, r *http.Request) {
		pad := strings.Repeat(`"[\\\"[",`, 100)
		io.WriteString(w, strings.Repeat("["+pad, 99)+"1"+strings.Repeat("]", 99))
	})
	mux.HandleFunc("/wider", func(w http.ResponseWriter, r *http.Request) {
		pad := strings.Repeat(`1,`, 110)
		io.WriteString(w, strings.Repeat("["+pad, 99)+"1"+strings.Repeat("]", 99))
	})
	mux.HandleFunc("/version", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })
	mux.HandleFunc("/hang", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/flood", func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 8192)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "drip ok drip")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "short")
	})
	return mux
}

// asks and asksTLS are checks of one request.
func asks(r healthcheck.Request) healthcheck.Check {
	return healthcheck.Check{Ask: healthcheck.HTTP{Request: r}}
}

func asksTLS(r healthcheck.Request) healthcheck.Check {
	return healthcheck.Check{Ask: healthcheck.HTTPS{Request: r}}
}

// within is a check with another timeout.
func within(timeout time.Duration, c healthcheck.Check) healthcheck.Check {
	c.Timeout = timeout
	return c
}

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(web())
	defer server.Close()
	addr := server.Listener.Addr().String()
	quick := 200 * time.Millisecond

	tests := []struct {
		name  string
		check healthcheck.Check
		want  string
	}{
		{"fine", asks(healthcheck.Request{}), "ok: status 200"},
		{"fine with a body", asks(healthcheck.Request{Body: "is ok"}), "ok: status 200"},
		{"body lacks it", asks(healthcheck.Request{Body: "splendid"}), `fail: body lacks "splendid"`},
		{"broken", asks(healthcheck.Request{Path: "/broken"}), "fail: status 503, want 200-299"},
		{"broken is fine", asks(healthcheck.Request{Path: "/broken", Status: "500-599"}), "ok: status 503"},
		{"redirects are not followed", asks(healthcheck.Request{Path: "/moved"}), "fail: status 302 to /, want 200-299"},
		{"redirects are answers", asks(healthcheck.Request{Path: "/moved", Status: "200,302"}), "ok: status 302"},
		{"what is sent", asks(healthcheck.Request{Path: "/echo?a=b%20c", Host: "www.example.com", Method: "OPTIONS", Body: "OPTIONS www.example.com /echo?a=b%20c lvsha close"}), "ok: status 200"},
		{"the address is the default host", asks(healthcheck.Request{Path: "/echo", Body: "GET " + addr + " /echo"}), "ok: status 200"},
		{"no answer", within(quick, asks(healthcheck.Request{Path: "/hang"})), "fail: timeout after 200ms while waiting for the answer"},
		{"a body without end is not waited for", asks(healthcheck.Request{Path: "/flood"}), "ok: status 200"},
		{"a body without end is searched up to the limit", asks(healthcheck.Request{Path: "/flood", Body: "ok"}), `fail: body lacks "ok"`},
		{"a body that stalls is searched as it comes", asks(healthcheck.Request{Path: "/drip", Body: "ok"}), "ok: status 200"},
		{"a body that stalls", within(quick, asks(healthcheck.Request{Path: "/drip", Body: "never"})), "fail: timeout after 200ms while reading the body"},
		{"a body cut short", asks(healthcheck.Request{Path: "/cut", Body: "never"}), "fail: connection closed without a complete answer"},
		{"http to https", asksTLS(healthcheck.Request{}), "fail: answer is not TLS"},
		{"a path that is none", asks(healthcheck.Request{Path: "/%zz"}), `fail: path "/%zz": invalid URL escape "%zz"`},
		{"a status that is none", asks(healthcheck.Request{Status: "2xx"}), `unready: status "2xx": want codes and ranges from 100 to 599, such as "200-299,304"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := probe(t, addr, tt.check); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	if got := probe(t, closedPort(t), asks(healthcheck.Request{})); got != "fail: connect: refused" {
		t.Errorf("closed port: %s", got)
	}
}

// TestHTTPRequests asks what is more than one plain request.
func TestHTTPRequests(t *testing.T) {
	server := httptest.NewServer(web())
	defer server.Close()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	two := httptest.NewUnstartedServer(web())
	two.Config.Protocols = &protocols
	two.Start()
	defer two.Close()
	quick := 200 * time.Millisecond
	type request = healthcheck.Request
	chain := func(requests ...request) healthcheck.Check {
		var out healthcheck.Question
		for _, r := range slices.Backward(requests) {
			out = healthcheck.HTTP{Request: r, Then: out}
		}
		return healthcheck.Check{Ask: out}
	}

	tests := []struct {
		name  string
		check healthcheck.Check
		want  string
	}{
		{"redirect", asks(request{Path: "/moved", Redirects: 1, Body: "all is ok"}), "ok: status 200"},
		{"redirects without end", asks(request{Path: "/round", Redirects: 3}), "fail: redirected 4 times, to /round"},
		{"redirect elsewhere", asks(request{Path: "/away", Redirects: 3}), "fail: redirected to https://www.example.org/x, which is not this server"},
		{"headers", asks(request{Path: "/header", Headers: healthcheck.NewList("X-Probe: one two"), Body: "one two"}), "ok: status 200"},
		{"host as a header", asks(request{Path: "/echo", Headers: healthcheck.NewList("host: www.example.net"), Body: "GET www.example.net /echo"}), "ok: status 200"},
		{"a user", asks(request{Path: "/private", User: "ada", Password: "lovelace"}), "ok: status 200"},
		{"a wrong password", asks(request{Path: "/private", User: "ada", Password: "byron"}), "fail: status 401, want 200-299"},
		{"a body sent", asks(request{Path: "/sent", Method: "POST", Send: "ping", Body: "got ping"}), "ok: status 200"},
		{"regular expression", asks(request{BodyRegex: "all is [a-z]{2} here$"}), "ok: status 200"},
		{"regular expression does not match", asks(request{BodyRegex: "^ok"}), `fail: body does not match "^ok"`},
		{"regular expression must not match", asks(request{BodyNotRegex: "is ok"}), `fail: body matches "is ok"`},
		{"text beside regular expression", asks(request{BodyRegex: "ok", Body: "splendid"}), `fail: body lacks "splendid"`},
		{"regular expression over a body without end", asks(request{Path: "/flood", BodyRegex: "ok"}), `fail: body does not match "ok"`},
		{"digest", asks(request{BodySHA256: fmt.Sprintf("%x", sha256.Sum256([]byte("all is ok here")))}), "ok: status 200"},
		{"another digest", asks(request{BodySHA256: strings.Repeat("0", 64)}), fmt.Sprintf("fail: SHA-256 of the body is %x", sha256.Sum256([]byte("all is ok here")))},
		{"JSON", asks(request{Path: "/json", JSON: "$.db.lag", JSONValue: "3"}), "ok: status 200, $.db.lag is 3"},
		{"JSON that is there", asks(request{Path: "/json", JSON: "$.db[?@ > 2]"}), "ok: status 200"},
		{"JSON that is not there", asks(request{Path: "/json", JSON: "$.cache"}), `fail: $.cache selects nothing of the body`},
		{"another JSON", asks(request{Path: "/json", JSON: "$.state", JSONValue: "ok"}), `fail: $.state is degraded, want ok`},
		{"JSON that is an object", asks(request{Path: "/json", JSON: "$.db", JSONValue: "3"}), `fail: $.db is an object, want 3`},
		{"JSON of an object", asks(request{Path: "/json", JSON: "$.db", JSONValue: `{"lag":3}`}), `ok: status 200, $.db is {"lag":3}`},
		{"JSON nested without end", asks(request{Path: "/nested", JSON: "$..*", JSONValue: "3"}), "fail: body is nested deeper than 100 levels, too deep for JSON"},
		{"JSON deep and wide", asks(request{Path: "/wider", JSON: "$..*", JSONValue: "1"}), "fail: body has too many values too deep for JSON: the sum of their depths is more than 500000"},
		{"JSON as deep as it may be", asks(request{Path: "/wide", JSON: "$..*", JSONValue: "1"}), "ok: status 200, $..* is 1"},
		{"no JSON", asks(request{JSON: "$.state"}), "fail: body is not JSON: invalid character 'a' looking for beginning of value"},
		{"JSON without end", asks(request{Path: "/flood", JSON: "$.state"}), "fail: body is longer than 1024 KiB, too long for JSON"},
		{"several", chain(request{}, request{Path: "/moved", Status: "302"}, request{Path: "/json", Body: "db"}), "ok: status 200"},
		{"the second of several", chain(request{}, request{Path: "/broken"}, request{}), "fail: /broken: status 503, want 200-299"},
		{"several and one hangs", within(quick, chain(request{}, request{Path: "/hang"})), "fail: /hang: timeout after 200ms while waiting for the answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			begun := time.Now()
			got := probe(t, server.Listener.Addr().String(), tt.check)
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	if got := probe(t, two.Listener.Addr().String(), healthcheck.Check{Ask: healthcheck.HTTP{Version: "2", Request: request{Path: "/version", Body: "HTTP/2.0"}}}); got != "ok: status 200" {
		t.Errorf("HTTP/2 with prior knowledge: %s", got)
	}
	if got := probe(t, server.Listener.Addr().String(), within(quick, healthcheck.Check{Ask: healthcheck.HTTP{Version: "2"}})); !strings.HasPrefix(got, "fail: ") {
		t.Errorf("HTTP/2 to a server of 1.1: %s", got)
	} else {
		t.Log(got)
	}
}

// TestHTTPGarbage talks to servers that do not speak HTTP.
func TestHTTPGarbage(t *testing.T) {
	quick := 200 * time.Millisecond
	tests := []struct {
		name  string
		serve func(net.Conn)
		check healthcheck.Check
		want  string
	}{
		{"another protocol", func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n"); io.Copy(io.Discard, c) },
			asks(healthcheck.Request{}), `fail: answer is not HTTP: malformed response "SSH-2.0-OpenSSH_9.2"`},
		{"control characters", func(c net.Conn) { io.WriteString(c, "\x00\x1b[2J\xff\n"); io.Copy(io.Discard, c) },
			asks(healthcheck.Request{}), `fail: answer is not HTTP: malformed response "\x00\x1b[2J\xff"`},
		{"closes at once", func(c net.Conn) {}, asks(healthcheck.Request{}), "fail: connection closed without a complete answer"},
		{"never says a word", func(c net.Conn) { io.Copy(io.Discard, c) },
			within(quick, asks(healthcheck.Request{})), "fail: timeout after 200ms while waiting for the answer"},
		{"never shakes hands", func(c net.Conn) { io.Copy(io.Discard, c) },
			within(quick, asksTLS(healthcheck.Request{})), "fail: timeout after 200ms while negotiating TLS"},
		{"a header without end", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "X-Padding: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
					return
				}
			}
		}, asks(healthcheck.Request{}), "fail: header is longer than 64 KiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := listen(t, func(c net.Conn) {
				if tt.check.Kind() == "http" {
					c.Read(make([]byte, 4096)) // the request
				}
				tt.serve(c)
			})
			got := probe(t, addr, tt.check)
			// Closing with unread bytes is a reset on some kernels.
			if got == "fail: connection lost: connection reset by peer" && strings.Contains(tt.want, "connection closed") {
				return
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestHTTPS(t *testing.T) {
	trusted := httptest.NewTLSServer(web())
	defer trusted.Close()
	modern := httptest.NewUnstartedServer(web())
	modern.EnableHTTP2 = true
	modern.StartTLS()
	defer modern.Close()
	two := modern.Listener.Addr().String()
	strange := tlsServer(t, time.Now().Add(time.Hour))
	expired := tlsServer(t, time.Now().Add(-time.Hour))

	tests := []struct {
		name, addr string
		check      healthcheck.Check
		want       string
	}{
		{"by address", trusted.Listener.Addr().String(), asksTLS(healthcheck.Request{}), "ok: status 200"},
		{"by name", trusted.Listener.Addr().String(), asksTLS(healthcheck.Request{Host: "example.com"}), "ok: status 200"},
		{"by name and port", trusted.Listener.Addr().String(), asksTLS(healthcheck.Request{Host: "example.com:8443"}), "ok: status 200"},
		{"wrong name", trusted.Listener.Addr().String(), asksTLS(healthcheck.Request{Host: "www.example.org"}),
			"fail: certificate: certificate is valid for example.com, *.example.com, not www.example.org"},
		{"unknown authority", strange, asksTLS(healthcheck.Request{Host: "example.com"}), "fail: certificate: certificate signed by unknown authority"},
		{"unknown authority is fine", strange, healthcheck.Check{Ask: healthcheck.HTTPS{Request: healthcheck.Request{Host: "example.com"}, TLS: healthcheck.TLS{Insecure: true}}}, "ok: status 200"},
		{"expired", expired, asksTLS(healthcheck.Request{Host: "example.com"}), "fail: certificate: certificate has expired or is not yet valid: current time"},
		{"another authority", strange, healthcheck.Check{Ask: healthcheck.HTTPS{TLS: healthcheck.TLS{CA: "/no/such/file"}}},
			"fail: nothing learned about the server: ca: stat /no/such/file: no such file or directory"},
		{"HTTP/2 to a server of 1.1", trusted.Listener.Addr().String(), healthcheck.Check{Ask: healthcheck.HTTPS{Version: "2"}}, "fail: "},
		{"HTTP/2", two, healthcheck.Check{Ask: healthcheck.HTTPS{Version: "2", Request: healthcheck.Request{Path: "/version", Body: "HTTP/2.0"}}}, "ok: status 200"},
		{"what the server prefers", two, healthcheck.Check{Ask: healthcheck.HTTPS{Version: "auto", Request: healthcheck.Request{Path: "/version", Body: "HTTP/2.0"}}}, "ok: status 200"},
		{"what the older server prefers", trusted.Listener.Addr().String(), healthcheck.Check{Ask: healthcheck.HTTPS{Version: "auto", Request: healthcheck.Request{Path: "/version", Body: "HTTP/1.1"}}}, "ok: status 200"},
		{"http to it", trusted.Listener.Addr().String(), asks(healthcheck.Request{}), "fail: status 400, want 200-299"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := probe(t, tt.addr, tt.check); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// tlsServer serves with a self-signed certificate for example.com.
func tlsServer(t *testing.T, notAfter time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(web())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}
