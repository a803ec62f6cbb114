package healthcheck_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
)

// TestMain makes the certificate of httptest one that this process trusts.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "healthcheck")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		s := httptest.NewTLSServer(nil)
		cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		s.Close()
		file := filepath.Join(dir, "ca.pem")
		if err := os.WriteFile(file, cert, 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		os.Setenv("SSL_CERT_FILE", file)
		os.Setenv("SSL_CERT_DIR", dir)
		return m.Run()
	}())
}

// probe asks a server once, for real. It returns the reason with "ok: " or
// "fail: " before it.
func probe(t *testing.T, server string, c healthcheck.Check) string {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), c.Timeout)
	defer cancel()
	start := time.Now()
	ask, err := c.Ask.Prepare()
	if err != nil {
		return "unready: " + err.Error()
	}
	answer, err := ask(ctx, healthcheck.Target{Server: netip.MustParseAddrPort(server), Check: c})
	if took := time.Since(start); took > c.Timeout+time.Second {
		t.Errorf("took %v with a timeout of %v", took, c.Timeout)
	}
	if err != nil {
		return "fail: " + err.Error()
	}
	if answer.Warning != "" {
		answer.Detail += "; warning: " + answer.Warning
	}
	return "ok: " + answer.Detail
}

// listen serves connections on a loopback port until the test ends.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Wait()
	})
	return l.Addr().String()
}

// closedPort is a loopback port on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestKinds holds the registry to what Question promises.
func TestKinds(t *testing.T) {
	for _, name := range healthcheck.Kinds() {
		k, ok := healthcheck.KindOf(name)
		if !ok || k.Default.Kind() != name {
			t.Errorf("%s: its kind is %s", name, k.Default.Kind())
		}
		if !reflect.TypeOf(k.Default).Comparable() {
			t.Errorf("%s: two of it cannot be compared", name)
		}
	}
	if _, ok := healthcheck.KindOf("carrier-pigeon"); ok {
		t.Error("there is a kind that is none")
	}
}

func TestTCP(t *testing.T) {
	ended := make(chan error, 1)
	open := listen(t, func(c net.Conn) {
		// An orderly close reads as EOF, a reset as an error.
		_, err := io.Copy(io.Discard, c)
		ended <- err
	})
	if got := probe(t, open, healthcheck.Check{Ask: healthcheck.TCP{}}); got != "ok: connected" {
		t.Errorf("open port: %s", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("the server saw %v", err)
	}
	if got := probe(t, closedPort(t), healthcheck.Check{Ask: healthcheck.TCP{}}); got != "fail: connect: refused" {
		t.Errorf("closed port: %s", got)
	}
}

// TestTCPTimeout fills a listener's backlog, so that the kernel answers no more.
func TestTCPTimeout(t *testing.T) {
	full := fullBacklog(t)
	got := probe(t, full, healthcheck.Check{Ask: healthcheck.TCP{}, Timeout: 200 * time.Millisecond})
	if got != "fail: timeout after 200ms while connecting" {
		t.Errorf("got %s", got)
	}
	got = probe(t, full, healthcheck.Check{Ask: healthcheck.HTTP{}, Timeout: 200 * time.Millisecond})
	if got != "fail: timeout after 200ms while connecting" {
		t.Errorf("got %s", got)
	}
}

// TestMonitorForReal runs the monitor with real probes of a real server that
// goes away.
func TestMonitorForReal(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	changes := make(chan healthcheck.Change, 10)
	m := healthcheck.New(healthcheck.Options{OnChange: func(c healthcheck.Change) { changes <- c }})
	target := healthcheck.Target{
		Server: addrPort(l.Addr().String()),
		Check:  healthcheck.Check{Ask: healthcheck.TCP{}, Interval: 20 * time.Millisecond, Timeout: 20 * time.Millisecond, Rise: 1, Fall: 2},
	}
	m.Set(wants(target))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	var got []string
	for i := range 2 {
		c := <-changes
		got = append(got, fmt.Sprintf("%v->%v: %s", c.From, c.To, c.Reason))
		if i == 0 {
			l.Close()
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"unknown->up: connected", "up->down: connect: refused"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOwnFault(t *testing.T) {
	for errno, want := range map[syscall.Errno]bool{
		syscall.EMFILE: true, syscall.ENFILE: true, syscall.ENOBUFS: true, syscall.EADDRNOTAVAIL: true,
		syscall.ECONNREFUSED: false, syscall.EHOSTUNREACH: false, syscall.ENETUNREACH: false, syscall.ETIMEDOUT: false,
	} {
		err := healthcheck.OwnFault(os.NewSyscallError("connect", errno))
		if errors.Is(err, healthcheck.ErrInconclusive) != want {
			t.Errorf("%v: inconclusive is %v", errno, !want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                  "plain",
		"bell\a and \x1b[31mred": "bell? and ?[31mred",
		"bad \xff utf-8":         "bad ? utf-8",
		strings.Repeat("é", 150): strings.Repeat("é", 119) + "…",
	} {
		if got := healthcheck.Printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// TestContains splits a text over reads in every way.
func TestContains(t *testing.T) {
	const want = "needle"
	for size := 1; size < 9000; size = size*2 + 1 {
		for _, before := range []int{0, 1, 4090, 4095, 4096, 8190, 20000} {
			text := strings.Repeat("n", before) + want + "tail"
			got, err := healthcheck.Contains(&chunks{text, size}, []byte(want))
			if !got || err != nil {
				t.Errorf("after %d bytes in chunks of %d: %v, %v", before, size, got, err)
			}
			got, err = healthcheck.Contains(&chunks{text[:before+5], size}, []byte(want))
			if got || err != nil {
				t.Errorf("cut off after %d bytes in chunks of %d: %v, %v", before, size, got, err)
			}
		}
	}
	long := strings.Repeat("0123456789", 400)
	if got, err := healthcheck.Contains(&chunks{"x" + long, 333}, []byte(long)); !got || err != nil {
		t.Errorf("a long text: %v, %v", got, err)
	}
}

// chunks reads a text in pieces.
type chunks struct {
	text string
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.text == "" {
		return 0, io.EOF
	}
	n := copy(p, c.text[:min(c.size, len(c.text))])
	c.text = c.text[n:]
	return n, nil
}

func TestCheckString(t *testing.T) {
	checks := []healthcheck.Check{
		{Ask: healthcheck.TCP{}},
		{Ask: healthcheck.TCP{}, Port: 8080},
		{Ask: healthcheck.HTTP{Request: healthcheck.Request{Method: "GET", Host: "www.example.com", Path: "/healthz"}}},
		{Ask: healthcheck.HTTPS{Request: healthcheck.Request{Method: "GET", Path: "/"}}, Port: 8443},
		{Ask: healthcheck.Exec{Command: healthcheck.NewList("/bin/check", "-v", "two words")}},
	}
	var got []string
	for _, c := range checks {
		got = append(got, c.String())
	}
	if diff := cmp.Diff([]string{"tcp", "tcp :8080", "http www.example.com /healthz", "https :8443 /", "exec /bin/check -v two words"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	argv := healthcheck.NewList("/bin/check", "-v", "two words").Items()
	if !slices.Equal(argv, []string{"/bin/check", "-v", "two words"}) || healthcheck.NewList().Items() != nil {
		t.Errorf("got %q", argv)
	}
}

// TestPing: this machine answers, and not before time began. Silence is tested in
// the lab, where no packet gets out.
func TestPing(t *testing.T) {
	for _, server := range []string{"127.0.0.1:0", "[::1]:0"} {
		if got := probe(t, server, healthcheck.Check{Ask: healthcheck.Ping{}}); !strings.HasPrefix(got, "ok: answered in ") {
			t.Errorf("%s: %q", server, got)
		}
		if got, want := probe(t, server, healthcheck.Check{Ask: healthcheck.Ping{}, Timeout: 1}), "fail: timeout after 1ns while connecting"; got != want {
			t.Errorf("%s: %q, want %q", server, got, want)
		}
	}
}
