package healthcheck_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/healthcheck"
)

func TestTCPDialogue(t *testing.T) {
	quick := 200 * time.Millisecond
	says := func(text string) func(net.Conn) {
		return func(c net.Conn) { io.WriteString(c, text); io.Copy(io.Discard, c) }
	}
	echo := func(c net.Conn) { io.Copy(c, c) }
	for _, tt := range []struct {
		name  string
		serve func(net.Conn)
		ask   healthcheck.TCP
		want  string
	}{
		{"a banner", says("220 mail.example.com\r\n"), healthcheck.TCP{Expect: "220 "}, `ok: said "220 mail.example.com\r\n"`},
		{"another banner", says("554 no\r\n"), healthcheck.TCP{Expect: "220 "}, `fail: said "554 no\r\n", want "220 "`},
		{"a question", echo, healthcheck.TCP{Send: "ping\r\n", ExpectRegex: "p.ng"}, `ok: said "ping\r\n"`},
		{"bytes", echo, healthcheck.TCP{SendHex: "0001ff", ExpectHex: "01ff"}, `ok: said "\x00\x01\xff"`},
		{"no answer", func(c net.Conn) { io.Copy(io.Discard, c) }, healthcheck.TCP{Expect: "x"}, `fail: timeout after 200ms while waiting for "x"`},
		{"closes", func(c net.Conn) {}, healthcheck.TCP{Expect: "x"}, `fail: connection closed while waiting for "x"`},
		{"says and closes", func(c net.Conn) { io.WriteString(c, "bye") }, healthcheck.TCP{Expect: "x"}, `fail: said "bye", want "x"`},
		{"floods", func(c net.Conn) {
			for {
				if _, err := c.Write(make([]byte, 8192)); err != nil {
					return
				}
			}
		}, healthcheck.TCP{ExpectRegex: "x"}, `fail: said "` + strings.Repeat(`\x00`, 60) + `"…… and no what matches "x" in 65536 bytes`},
		{"drips", func(c net.Conn) {
			for range time.Tick(20 * time.Millisecond) {
				if _, err := c.Write([]byte("a")); err != nil {
					return
				}
			}
		}, healthcheck.TCP{Expect: "b"}, `fail: said "aaaaa`},
		{"no TLS", says("220 mail.example.com\r\n"), healthcheck.TCP{Encrypt: true}, "fail: answer is not TLS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := probe(t, listen(t, tt.serve), healthcheck.Check{Ask: tt.ask, Timeout: quick})
			if got != tt.want && !(tt.name == "drips" && strings.HasPrefix(got, tt.want)) {
				// Closing with unread bytes is a reset on some kernels.
				if strings.Contains(got, "connection reset by peer") && tt.name == "closes" {
					return
				}
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	secure := tlsServer(t, time.Now().Add(9*24*time.Hour+time.Hour))
	for want, ask := range map[string]healthcheck.TCP{
		"ok: connected with TLS 1.3":                                 {Encrypt: true, TLS: healthcheck.TLS{Insecure: true, ExpiryDays: 14}},
		"fail: certificate: certificate signed by unknown authority": {Encrypt: true, TLS: healthcheck.TLS{ServerName: "example.com"}},
	} {
		if got := probe(t, secure, healthcheck.Check{Ask: ask}); !strings.HasPrefix(got, want) {
			t.Errorf("TLS: got %s, want %s", got, want)
		}
	}
}

func TestUDP(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			if string(buf[:n]) != "hush" {
				server.WriteTo(append([]byte("re:"), buf[:n]...), from)
			}
		}
	}()
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, tt := range []struct {
		name string
		ask  healthcheck.UDP
		want string
	}{
		{"silence is fine", healthcheck.UDP{Send: "hush"}, "ok: no ICMP error"},
		{"silence is not", healthcheck.UDP{Send: "hush", Reply: true}, "fail: timeout after 200ms while waiting for a reply"},
		{"a reply", healthcheck.UDP{Send: "hello"}, "ok: reply of 8 bytes"},
		{"an empty datagram", healthcheck.UDP{Reply: true}, "ok: reply of 3 bytes"},
		{"text", healthcheck.UDP{Send: "hello", Expect: "hello"}, "ok: reply of 8 bytes"},
		{"another text", healthcheck.UDP{Send: "hello", Expect: "bye"}, `fail: reply "re:hello", want "bye" in it`},
		{"bytes", healthcheck.UDP{SendHex: "00ff", ExpectHex: "72xx3a00"}, "ok: reply of 5 bytes"},
		{"other bytes", healthcheck.UDP{SendHex: "00ff", ExpectHex: "72xx3a01"}, "fail: reply 72653a00, want it to begin with 72xx3a01"},
		{"expression", healthcheck.UDP{Send: "hello", ExpectRegex: "^re:h"}, "ok: reply of 8 bytes"},
		{"too short", healthcheck.UDP{Send: "hello", MinReply: 12}, "fail: reply of 8 bytes, want 12 or more"},
		{"too long", healthcheck.UDP{Send: "hello", MaxReply: 5}, "fail: reply of 8 bytes, want 0 to 5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := probe(t, server.LocalAddr().String(), healthcheck.Check{Ask: tt.ask, Timeout: 200 * time.Millisecond}); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	if got := probe(t, closed.LocalAddr().String(), healthcheck.Check{Ask: healthcheck.UDP{}}); got != "fail: port unreachable" {
		t.Errorf("closed port: %s", got)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "192.0.2.21")
	named := filepath.Join(dir, "{server}")
	for _, tt := range []struct {
		text string // "-" is no file
		ask  healthcheck.File
		want string
	}{
		{"-", healthcheck.File{}, "ok: 0 in the file"},
		{"", healthcheck.File{}, "ok: 0 in the file"},
		{"1\n", healthcheck.File{}, "fail: 1 in the file, want 0"},
		{"-20 # because", healthcheck.File{Factor: 2}, "ok: 0 in the file, weight -40"},
		{"-127", healthcheck.File{Factor: 2}, "fail: -127 in the file, times 2"},
		{"7", healthcheck.File{Dynamic: true}, "ok: weight 7"},
		{"-1", healthcheck.File{Dynamic: true}, "fail: -1 in the file, want 0 or more"},
		{"yes", healthcheck.File{}, "fail: nothing learned about the server: " + path + ` holds "yes", want an integer`},
	} {
		os.Remove(path)
		if tt.text != "-" {
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		tt.ask.File = named
		got, advice := asked(t, server, healthcheck.Check{Ask: tt.ask})
		switch {
		case advice.Unit == healthcheck.Added:
			got = "ok: 0 in the file, " + advice.String()
		case advice.Unit == healthcheck.Absolute:
			got = "ok: " + advice.String()
		}
		if got != tt.want {
			t.Errorf("%q: got  %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

func TestSwitch(t *testing.T) {
	for on, want := range map[bool]string{true: "ok: switched on in the file", false: "fail: switched off in the file"} {
		if got := probe(t, server, healthcheck.Check{Ask: healthcheck.Switch{On: on}}); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if _, err := (healthcheck.BFD{}).Prepare(); err == nil {
		t.Error("BFD without sessions can be asked")
	}
}

// TestAgent plays lines of an agent to one check.
func TestAgent(t *testing.T) {
	line := make(chan string, 1)
	addr := listen(t, func(c net.Conn) {
		if text := <-line; text != "" {
			io.WriteString(c, text)
		}
	})
	check := healthcheck.Check{Ask: healthcheck.Agent{}, Timeout: 5 * time.Second}
	ask, err := check.Ask.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ line, want string }{
		{"", "ok: agent is not heard (connection closed while waiting for a line), and stands by what it said"},
		{"75%\n", "ok: agent says 75% (weight 75%)"},
		{"up ready\n", "ok: agent says up ready (weight 75%)"},
		{"drain\r\n", "ok: agent says drain (weight 75%, drain)"},
		{"", "ok: agent is not heard (connection closed while waiting for a line), and stands by what it said (weight 75%, drain)"},
		{"maint,weight:20 # kernel update\n", "ok: agent says maint,weight:20 # kernel update (weight 20, maintenance)"},
		{"ready maxconn:30\n", "ok: agent says ready maxconn:30 (weight 20)"},
		{"failed # disk is full", "fail: agent says failed # disk is full (weight 20)"},
		{"100%\n", "fail: agent says 100% (weight 100%)"},
		{"", "fail: agent is not heard (connection closed while waiting for a line), and stands by what it said: failed disk is full (weight 100%)"},
		{"HTTP/1.1 400 Bad Request\r\n", `fail: agent says "HTTP/1.1 400 Bad Request", which is no word of an agent (weight 100%)`},
		{"up 150%", "ok: agent says up 150% (weight 150%)"},
		{"maxconn:30\n", `ok: agent says "maxconn:30", which is no word of an agent (weight 150%)`},
		{"down maxsess:10\n", "fail: agent says down maxsess:10 (weight 150%)"},
		{"UP\tready,weight:7 foo:bar#why\n", "ok: agent says UP?ready,weight:7 foo:bar#why (weight 7)"},
	} {
		line <- tt.line
		got := say(ask, t, addr, check)
		if got != tt.want {
			t.Errorf("%q: got  %s\nwant %s", tt.line, got, tt.want)
		}
	}
}

// TestAgentGarbage: an agent that drips, floods or hangs is not heard, within the
// timeout and in little memory.
func TestAgentGarbage(t *testing.T) {
	for name, tt := range map[string]struct {
		serve func(net.Conn)
		want  string
	}{
		"drips": {func(c net.Conn) {
			for range time.Tick(20 * time.Millisecond) {
				if _, err := io.WriteString(c, "5"); err != nil {
					return
				}
			}
		}, "ok: agent is not heard (timeout after 200ms while waiting for a line), and stands by what it said"},
		"hangs": {func(c net.Conn) { io.Copy(io.Discard, c) }, "ok: agent is not heard (timeout after 200ms while waiting for a line), and stands by what it said"},
		"floods": {func(c net.Conn) {
			for {
				if _, err := c.Write(make([]byte, 8192)); err != nil {
					return
				}
			}
		}, `ok: agent says "` + strings.Repeat("?", 119) + `…", which is no word of an agent`},
	} {
		t.Run(name, func(t *testing.T) {
			got := probe(t, listen(t, tt.serve), healthcheck.Check{Ask: healthcheck.Agent{}, Timeout: 200 * time.Millisecond})
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestFileGarbage: what is no file with a number says nothing about the server, and
// is not waited for.
func TestFileGarbage(t *testing.T) {
	dir := t.TempDir()
	fifo, long, down := filepath.Join(dir, "fifo"), filepath.Join(dir, "long"), filepath.Join(dir, "down")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(long, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(down, down); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fifo:        "fail: nothing learned about the server: " + fifo + " is no file",
		dir:         "fail: nothing learned about the server: " + dir + " is no file",
		"/dev/zero": "fail: nothing learned about the server: /dev/zero is no file",
		long:        "fail: nothing learned about the server: " + long + ` holds "` + strings.Repeat("?", 64) + `", want an integer`,
		down:        "fail: nothing learned about the server: stat " + down + ": too many levels of symbolic links",
	} {
		if got := probe(t, server, healthcheck.Check{Ask: healthcheck.File{File: path}}); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestExecDynamic holds keepalived's rules of misc_dynamic.
func TestExecDynamic(t *testing.T) {
	for script, want := range map[string]string{
		"exit 0":                     "ok: exit status 0",
		"echo no; exit 1":            "fail: exit status 1: no",
		"exit 2":                     "ok: exit status 2 (weight 0)",
		"echo half; exit 52":         "ok: exit status 52: half (weight 50)",
		"exit 255":                   "ok: exit status 255 (weight 253)",
		"kill -9 $$":                 "fail: signal: killed",
		"echo {server} {port} {vip}": "ok: exit status 0: 192.0.2.21 8080 192.0.2.10",
	} {
		check := healthcheck.Check{Ask: healthcheck.Exec{Command: healthcheck.NewList("/bin/sh", "-c", script), Dynamic: true}, Timeout: 5 * time.Second}
		check = check.For("192.0.2.10", 80)
		ask, err := check.Ask.Prepare()
		if err != nil {
			t.Fatal(err)
		}
		if got := say(ask, t, server, check); got != want {
			t.Errorf("%s: got %s, want %s", script, got, want)
		}
	}
}

// asked probes once and returns the advice too.
func asked(t *testing.T, server string, c healthcheck.Check) (string, healthcheck.Advice) {
	t.Helper()
	ask, err := c.Ask.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	answer, err := ask(t.Context(), healthcheck.Target{Server: addrPort(server), Check: c})
	if err != nil {
		return "fail: " + err.Error(), answer.Advice
	}
	return "ok: " + answer.Detail, answer.Advice
}

// say probes with a check that was prepared.
func say(ask healthcheck.ProbeFunc, t *testing.T, server string, c healthcheck.Check) string {
	t.Helper()
	answer, err := ask(t.Context(), healthcheck.Target{Server: addrPort(server), Check: c})
	out := "ok: " + answer.Detail
	if err != nil {
		out = "fail: " + err.Error()
	}
	if advice := answer.Advice.String(); advice != "" {
		out += fmt.Sprintf(" (%s)", advice)
	}
	return out
}
