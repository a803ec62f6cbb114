package checks_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/control"
	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// channelFile has the keys of both directors, and a service with two servers on
// the client's machine: one that both reach and one that only lvs1 does.
func channelFile(one, two string) string {
	key := func(pin string) string {
		if pin == "" {
			return ""
		}
		return fmt.Sprintf("key = %q\n", pin)
	}
	file := rig.VRRPFile(3, 100*time.Millisecond)
	file = strings.Replace(file, "[director.lvs1]\n", "[director.lvs1]\n"+key(one), 1)
	file = strings.Replace(file, "[director.lvs2]\n", "[director.lvs2]\n"+key(two), 1)
	return file + `
[peer]
key_file = "` + rig.KeyPath + `"
[service.web]
listen  = "10.0.0.100:80/tcp"
forward = "nat"
check   = { type = "http", interval = "100ms", rise = 2, fall = 2 }
[[service.web.server]]
address = "10.0.0.9:8001"
[[service.web.server]]
address = "10.0.0.9:8002"
`
}

// channelTo is what a daemon's status has of another director.
func channelTo(d *lab.Daemon, name string) (control.Channel, control.ChannelPeer) {
	s, err := d.Status()
	if err != nil || s.Channel == nil {
		return control.Channel{}, control.ChannelPeer{}
	}
	i := slices.IndexFunc(s.Channel.Peers, func(p control.ChannelPeer) bool { return p.Name == name })
	if i < 0 {
		return *s.Channel, control.ChannelPeer{}
	}
	return *s.Channel, s.Channel.Peers[i]
}

// serveWeb answers on ports of the client, with 503 on those of broken to those it
// names.
func serveWeb(r *rig.Rig, broken func(port int, from string) bool) {
	r.Helper()
	var all sync.WaitGroup
	r.Cleanup(all.Wait)
	for _, port := range []int{8001, 8002} {
		var l net.Listener
		r.Check(r.Client.Do(func() (err error) {
			l, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
			return err
		}))
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if broken(port, q.RemoteAddr) {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			io.WriteString(w, "ok")
		})}
		all.Go(func() { server.Serve(l) })
		r.Cleanup(func() { server.Close() })
	}
}

// TestChannel: two directors with keys compare what they see of the servers; the
// channel is cut, healed, and refuses a wrong key; without keys all else works.
func TestChannel(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	var mu sync.Mutex
	blind := "" // the director that gets 503 from the second server
	serveWeb(r, func(port int, from string) bool {
		mu.Lock()
		defer mu.Unlock()
		return port == 8002 && blind != "" && strings.HasPrefix(from, blind+":")
	})
	run := []string{"--kernel=memory"}

	// No key, no channel.
	one := r.Lvsha(r.LVS[0], channelFile("", ""), run...)
	two := r.Lvsha(r.LVS[1], channelFile("", ""), run...)
	r.Becomes(one, "active")
	r.Becomes(two, "backup")
	r.Printed(r.LVS[0], 15*time.Second, "no channel to other directors: no key in the file (lvsha key)", "2 of 2 servers up")
	if s, err := one.Status(); err != nil || strings.Contains(fmt.Sprint(s.Problems), "channel") {
		r.Errorf("problems %q, %v", s.Problems, err)
	}

	// Keys come with a reload.
	first, second := r.NewKey(r.LVS[0]), r.NewKey(r.LVS[1])
	reload := func(h *lab.Host, file string) {
		r.Helper()
		r.Check(h.WriteFile(rig.ConfigPath, []byte(file), 0o644))
		_, err := h.Run(r.Binary, "reload")
		r.Check(err)
	}
	file := channelFile(first, second)
	reload(r.LVS[0], file)
	reload(r.LVS[1], file)
	connected := func() bool {
		_, a := channelTo(one, "lvs2")
		_, b := channelTo(two, "lvs1")
		return a.State == "connected" && b.State == "connected"
	}
	r.Eventually("a channel", 10*time.Second, connected)
	r.Printed(r.LVS[0], 15*time.Second, "channel to other directors, on 10.0.0.1:8849", "lvs2: connected for", "2 checks compared, 0 different now, 0 so far")
	r.Printed(r.LVS[1], 15*time.Second, "lvs1: connected for", "2 checks compared, 0 different now, 0 so far")

	// One server that lvs2 does not see right.
	mu.Lock()
	blind = "10.0.0.2"
	mu.Unlock()
	r.Printed(r.LVS[0], 10*time.Second, "! server 10.0.0.9:8002 is up here (status 200) and down on lvs2 (status 503",
		"one of the two does not see it right", "1 different now, 1 so far")
	r.Printed(r.LVS[1], 10*time.Second, "! server 10.0.0.9:8002 is down here (status 503", "and up on lvs1 (status 200)")
	s, err := one.Status()
	r.Check(err)
	server := s.Services[0].Servers[1]
	if server.State != "up" || server.Peers["lvs2"].State != "down" || !strings.Contains(server.Peers["lvs2"].Reason, "503") || server.Peers["lvs2"].Since.IsZero() {
		r.Errorf("server %+v", server)
	}
	if other := s.Services[0].Servers[0]; other.Peers["lvs2"].State != "up" {
		r.Errorf("server %+v", other)
	}
	mu.Lock()
	blind = ""
	mu.Unlock()
	r.Printed(r.LVS[0], 10*time.Second, "0 different now, 1 so far")
	out, err := r.LVS[0].Run(r.Binary, "events")
	r.Check(err)
	for _, want := range []string{"connected with 10.0.0.2", "server 10.0.0.9:8002 is up here (status 200) and down on lvs2", "no difference any more"} {
		if !strings.Contains(out, want) {
			r.Errorf("events have no %q:\n%s", want, out)
		}
	}

	// Another file is said, and the channel goes on.
	reload(r.LVS[1], file+"[[service.web.server]]\naddress = \"10.0.0.9:8003\"\n")
	r.Printed(r.LVS[0], 15*time.Second, "! lvs2 runs another file: 1 check of only one of the two, not compared")
	reload(r.LVS[1], file)
	r.Eventually("one file again", 30*time.Second, func() bool {
		_, p := channelTo(one, "lvs2")
		return p.SameFile != nil && *p.SameFile && p.Connections == 1 && p.NotCompared == 0
	})

	// A cut, and its end.
	r.Check(r.Ports[1].Cut())
	r.Printed(r.LVS[0], 20*time.Second, "! no channel to lvs2: ")
	r.Check(r.Ports[1].Mend())
	mended := time.Now()
	at := r.Eventually("the channel again", 10*time.Second, connected)
	if took := at.Sub(mended); took > 2500*time.Millisecond {
		r.Errorf("the channel was back after %s", took)
	} else {
		r.Logf("the channel was back after %s", took)
	}
	r.Becomes(one, "active")
	r.Becomes(two, "backup")

	// A restart is seen as one.
	_, err = two.End(syscall.SIGUSR2)
	r.Check(err)
	two = r.Again(r.LVS[1], run...)
	r.Eventually("a channel after the restart", 30*time.Second, func() bool {
		_, p := channelTo(one, "lvs2")
		return p.State == "connected" && p.Restarts == 1
	})

	// lvs2 gets a key that the file does not have.
	_, err = r.LVS[1].Run("rm", rig.KeyPath)
	r.Check(err)
	third := r.NewKey(r.LVS[1])
	reload(r.LVS[1], file)
	r.Printed(r.LVS[1], 15*time.Second, "the channel to other directors is off: the key in "+rig.KeyPath+` is not the one of [director.lvs2]: its pin is "`+third+`"`)
	// In its own file only: both say so.
	reload(r.LVS[1], channelFile(first, third))
	r.Printed(r.LVS[0], 15*time.Second, "no channel to lvs2: lvs2 (10.0.0.2) presents a key that is not the one in the file")
	r.Printed(r.LVS[1], 15*time.Second, "no channel to lvs1: lvs1 (10.0.0.1) does not accept our key")
	if _, p := channelTo(one, "lvs2"); p.WrongKeys == 0 {
		r.Errorf("wrong keys are not counted: %+v", p)
	}
	reload(r.LVS[0], channelFile(first, third))
	r.Eventually("a channel with the new key", 10*time.Second, connected)

	// Only one of them has none.
	reload(r.LVS[0], channelFile("", third))
	r.Printed(r.LVS[0], 15*time.Second, "no channel to other directors: no key of [director.lvs1] in the file (lvsha key)")
	r.Becomes(one, "active")
}

// TestChannelIPv6: a pair whose directors have IPv6 addresses only, one of which is
// not there when its daemon starts.
func TestChannelIPv6(t *testing.T) {
	t.Parallel()
	r := rig.NewOf(t, true)
	file := strings.NewReplacer(`"10.0.0.1"`, `"2001:db8::1"`, `"10.0.0.2"`, `"2001:db8::2"`).
		Replace(channelFile(r.NewKey(r.LVS[0]), r.NewKey(r.LVS[1])))
	_, err := r.LVS[0].Run("ip", "addr", "del", "2001:db8::1/64", "dev", "eth0")
	r.Check(err)
	one, two := r.Lvsha(r.LVS[0], file, "--kernel=memory"), r.Lvsha(r.LVS[1], file, "--kernel=memory")
	r.Becomes(one, "active")
	r.Becomes(two, "backup")
	r.Printed(r.LVS[1], 10*time.Second, "no channel to lvs1: ")
	_, err = r.LVS[0].Run("ip", "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
	r.Check(err)
	r.Printed(r.LVS[0], 10*time.Second, "channel to other directors, on [2001:db8::1]:8849", "lvs2: connected for")
	r.Printed(r.LVS[1], 10*time.Second, "lvs1: connected for", "with [2001:db8::1]:")
}
