package healthcheck_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
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
		{"fine", healthcheck.Check{}, "ok: status 200"},
		{"fine with a body", healthcheck.Check{Body: "is ok"}, "ok: status 200"},
		{"body lacks it", healthcheck.Check{Body: "splendid"}, `fail: body lacks "splendid"`},
		{"broken", healthcheck.Check{Path: "/broken"}, "fail: status 503, want 200-299"},
		{"broken is fine", healthcheck.Check{Path: "/broken", Status: "500-599"}, "ok: status 503"},
		{"redirects are not followed", healthcheck.Check{Path: "/moved"}, "fail: status 302, want 200-299"},
		{"redirects are answers", healthcheck.Check{Path: "/moved", Status: "200,302"}, "ok: status 302"},
		{"what is sent", healthcheck.Check{Path: "/echo?a=b%20c", Host: "www.example.com", Method: "OPTIONS",
			Body: "OPTIONS www.example.com /echo?a=b%20c lvsha close"}, "ok: status 200"},
		{"the address is the default host", healthcheck.Check{Path: "/echo", Body: "GET " + addr + " /echo"}, "ok: status 200"},
		{"no answer", healthcheck.Check{Path: "/hang", Timeout: quick}, "fail: timeout after 200ms while waiting for the answer"},
		{"a body without end is not waited for", healthcheck.Check{Path: "/flood"}, "ok: status 200"},
		{"a body without end is searched up to the limit", healthcheck.Check{Path: "/flood", Body: "ok"}, `fail: body lacks "ok"`},
		{"a body that stalls is searched as it comes", healthcheck.Check{Path: "/drip", Body: "ok"}, "ok: status 200"},
		{"a body that stalls", healthcheck.Check{Path: "/drip", Body: "never", Timeout: quick}, "fail: timeout after 200ms while reading the body"},
		{"a body cut short", healthcheck.Check{Path: "/cut", Body: "never"}, "fail: connection closed without a complete answer"},
		{"http to https", healthcheck.Check{Kind: "https"}, "fail: answer is not TLS"},
		{"a path that is none", healthcheck.Check{Path: "/%zz"}, `fail: path "/%zz": invalid URL escape "%zz"`},
		{"a status that is none", healthcheck.Check{Status: "2xx"}, `fail: status "2xx": want codes and ranges from 100 to 599, such as "200-299,304"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.check.Kind == "" {
				tt.check.Kind = "http"
			}
			if got := probe(t, addr, tt.check); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	if got := probe(t, closedPort(t), healthcheck.Check{Kind: "http"}); got != "fail: connect: connection refused" {
		t.Errorf("closed port: %s", got)
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
			healthcheck.Check{}, `fail: answer is not HTTP: malformed response "SSH-2.0-OpenSSH_9.2"`},
		{"control characters", func(c net.Conn) { io.WriteString(c, "\x00\x1b[2J\xff\n"); io.Copy(io.Discard, c) },
			healthcheck.Check{}, `fail: answer is not HTTP: malformed response "\x00\x1b[2J\xff"`},
		{"closes at once", func(c net.Conn) {}, healthcheck.Check{}, "fail: connection closed without a complete answer"},
		{"never says a word", func(c net.Conn) { io.Copy(io.Discard, c) },
			healthcheck.Check{Timeout: quick}, "fail: timeout after 200ms while waiting for the answer"},
		{"never shakes hands", func(c net.Conn) { io.Copy(io.Discard, c) },
			healthcheck.Check{Kind: "https", Timeout: quick}, "fail: timeout after 200ms while negotiating TLS"},
		{"a header without end", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "X-Padding: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
					return
				}
			}
		}, healthcheck.Check{}, "fail: server response headers exceeded 65536 bytes; aborted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.check.Kind == "" {
				tt.check.Kind = "http"
			}
			addr := listen(t, func(c net.Conn) {
				if tt.check.Kind == "http" {
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
	strange := tlsServer(t, time.Now().Add(time.Hour))
	expired := tlsServer(t, time.Now().Add(-time.Hour))

	tests := []struct {
		name, addr string
		check      healthcheck.Check
		want       string
	}{
		{"by address", trusted.Listener.Addr().String(), healthcheck.Check{}, "ok: status 200"},
		{"by name", trusted.Listener.Addr().String(), healthcheck.Check{Host: "example.com"}, "ok: status 200"},
		{"by name and port", trusted.Listener.Addr().String(), healthcheck.Check{Host: "example.com:8443"}, "ok: status 200"},
		{"wrong name", trusted.Listener.Addr().String(), healthcheck.Check{Host: "www.example.org"},
			"fail: certificate: certificate is valid for example.com, *.example.com, not www.example.org"},
		{"unknown authority", strange, healthcheck.Check{Host: "example.com"}, "fail: certificate: certificate signed by unknown authority"},
		{"unknown authority is fine", strange, healthcheck.Check{Host: "example.com", Insecure: true}, "ok: status 200"},
		{"expired", expired, healthcheck.Check{Host: "example.com"}, "fail: certificate: certificate has expired or is not yet valid: current time"},
		{"http to it", trusted.Listener.Addr().String(), healthcheck.Check{Kind: "http"}, "fail: status 400, want 200-299"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.check.Kind == "" {
				tt.check.Kind = "https"
			}
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
