package director

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/peer"
	"lvsha/ipvs"
	connsync "lvsha/sync"
	"lvsha/vrrp/vrrptest"
)

// status is a target's.
func status(server string, check healthcheck.Check, state healthcheck.State, reason string) healthcheck.Status {
	return healthcheck.Status{
		Target:  healthcheck.Target{Server: netip.MustParseAddrPort(server), Check: check},
		Verdict: healthcheck.Verdict{State: state, Reason: reason, Since: time.Unix(1000, 0)},
	}
}

var tcp = healthcheck.Check{Ask: healthcheck.TCP{}, Interval: time.Second, Rise: 2, Fall: 3}

// tell carries everything from one comparison to another, and counts the messages.
func tell(t *testing.T, from *comparison, to string, at *comparison, name string) (messages int) {
	t.Helper()
	for {
		payload, more := from.compose(to)
		if len(payload) > peer.ComposeLimit {
			t.Fatalf("a message of %d octets", len(payload))
		}
		if payload != nil {
			messages++
			if err := at.receive(name, at.others[name].session, payload); err != nil {
				t.Fatal(err)
			}
		}
		if !more {
			return messages
		}
	}
}

// two are the comparisons of two directors with a session.
func two(a, b []healthcheck.Status) (one, other *comparison) {
	one, other = newComparison(), newComparison()
	one.open("lvs2", &peer.Session{})
	other.open("lvs1", &peer.Session{})
	one.own, other.own = observe(a), observe(b)
	return one, other
}

// sentences are events in words.
func sentences(events []verdictEvent) (out []string) {
	for _, e := range events {
		if e.begins {
			out = append(out, e.sentence())
		} else {
			out = append(out, e.server()+" "+e.over())
		}
	}
	return out
}

// TestDifference: a difference is one once it has lasted, begins and ends once,
// and who does not know does not differ.
func TestDifference(t *testing.T) {
	const a, b, c = "192.0.2.21:80", "192.0.2.22:80", "192.0.2.23:80"
	one, two := two(
		[]healthcheck.Status{status(a, tcp, healthcheck.Down, "connect: refused"), status(b, tcp, healthcheck.Up, "ok"), status(c, tcp, healthcheck.Up, "ok")},
		[]healthcheck.Status{status(a, tcp, healthcheck.Up, "connected"), status(b, tcp, healthcheck.Unknown, "not probed yet")})
	tell(t, two, "lvs1", one, "lvs2")
	tell(t, one, "lvs2", two, "lvs1")
	now := time.Unix(2000, 0)
	events, next := one.look(now)
	if len(events) > 0 || !next.Equal(now.Add(6*time.Second)) {
		t.Errorf("at once: %v, next %s", sentences(events), next)
	}
	if n, ok := one.numbers("lvs2"); !ok || n != (compared{both: 2, alone: 1, whole: true}) {
		t.Errorf("numbers %+v", n)
	}
	if events, _ = one.look(now.Add(6*time.Second - 1)); len(events) > 0 {
		t.Errorf("a moment too early: %v", sentences(events))
	}
	events, next = one.look(now.Add(6 * time.Second))
	want := []string{"server 192.0.2.21:80 is down here (connect: refused) and up on lvs2 (connected)"}
	if diff := cmp.Diff(want, sentences(events)); diff != "" || !next.IsZero() {
		t.Errorf("(-want +got), next %s:\n%s", next, diff)
	}
	if events, _ = one.look(now.Add(time.Hour)); len(events) > 0 {
		t.Errorf("again: %v", sentences(events))
	}
	if got := one.differences(); len(got) != 1 || got[0] != want[0]+": one of the two does not see it right" {
		t.Errorf("differences %q", got)
	}
	if n, _ := one.numbers("lvs2"); n.differ != 1 || n.total != 1 {
		t.Errorf("numbers %+v", n)
	}

	// One that ends before it has lasted is none.
	two.own = observe([]healthcheck.Status{status(a, tcp, healthcheck.Up, "connected"), status(b, tcp, healthcheck.Down, "timeout")})
	tell(t, two, "lvs1", one, "lvs2")
	one.look(now.Add(2 * time.Hour))
	two.own = observe([]healthcheck.Status{status(a, tcp, healthcheck.Down, "timeout"), status(b, tcp, healthcheck.Up, "ok")})
	if n := tell(t, two, "lvs1", one, "lvs2"); n != 1 {
		t.Errorf("%d messages", n)
	}
	events, _ = one.look(now.Add(3 * time.Hour))
	want = []string{"192.0.2.21:80 is down here (connect: refused) and down on lvs2 (timeout): no difference any more"}
	if diff := cmp.Diff(want, sentences(events)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What is no longer checked is no longer compared.
	two.own = observe(nil)
	tell(t, two, "lvs1", one, "lvs2")
	if n, _ := one.numbers("lvs2"); n != (compared{alone: 3, total: 1, whole: true}) {
		t.Errorf("numbers %+v", n)
	}
	// Nothing new, nothing told.
	if payload, more := two.compose("lvs1"); payload != nil || more {
		t.Errorf("composed %s", payload)
	}
	// A director that is gone has no views.
	if got := two.views(targetID(status(c, tcp, 0, "").Target)); len(got) != 1 || got[0].Director != "lvs1" || got[0].State != healthcheck.Up {
		t.Errorf("views %+v", got)
	}
	two.shut("lvs1", &peer.Session{}) // another one
	if len(two.others) != 1 {
		t.Error("the end of another session counts")
	}
	two.shut("lvs1", two.others["lvs1"].session)
	if got := two.views(targetID(status(c, tcp, 0, "").Target)); got != nil {
		t.Errorf("views of nobody: %+v", got)
	}
}

// TestManyDifferences: they become one line, and the table goes in messages that
// fit.
func TestManyDifferences(t *testing.T) {
	var here, there []healthcheck.Status
	for i := range 5000 {
		server := fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1)
		here = append(here, status(server, tcp, healthcheck.Up, "ok"))
		there = append(there, status(server, tcp, healthcheck.Down, strings.Repeat("<", 500)))
	}
	one, two := two(here, there)
	if n := tell(t, two, "lvs1", one, "lvs2"); n < 5 {
		t.Errorf("%d messages", n)
	}
	one.look(time.Unix(2000, 0))
	events, _ := one.look(time.Unix(3000, 0))
	if len(events) != 5000 || one.total["lvs2"] != 5000 {
		t.Errorf("%d events, %d counted", len(events), one.total["lvs2"])
	}
	if got := one.differences(); len(got) != 1 || !strings.HasPrefix(got[0], "0 servers are down here and up on lvs2, 5000 the other way round; the first: server 10.0.0.") {
		t.Errorf("%d lines, %.300q", len(got), got)
	}
	var told []channelEvent
	c := &channel{tell: func(e channelEvent) { told = append(told, e) }}
	c.report(time.Unix(3000, 0), events)
	if len(told) != 1 || told[0].level != slog.LevelWarn || told[0].object != "lvs2" {
		t.Errorf("%d events", len(told))
	}
	if n := one.shut("lvs2", one.others["lvs2"].session); n != 5000 {
		t.Errorf("%d differed at the end", n)
	}
}

func TestSettle(t *testing.T) {
	for _, tt := range []struct {
		check healthcheck.Check
		want  time.Duration
	}{
		{healthcheck.Check{}, 12 * time.Second},
		{healthcheck.Check{Interval: 100 * time.Millisecond, Rise: 1, Fall: 1}, 2 * time.Second},
		{healthcheck.Check{Interval: 5 * time.Second, Rise: 4, Fall: 2}, 40 * time.Second},
		{healthcheck.Check{Interval: time.Second, DownInterval: 10 * time.Second, Damping: healthcheck.Damping{Hold: time.Minute}}, 2 * time.Minute},
	} {
		if got := settle(tt.check); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.check, got, tt.want)
		}
	}
}

// TestTargetID: one name for one check, whatever port it is written with; of two
// targets with one name the worse counts at both directors.
func TestTargetID(t *testing.T) {
	a := healthcheck.Target{Server: netip.MustParseAddrPort("192.0.2.21:80"), Check: healthcheck.Check{Ask: healthcheck.TCP{}, Port: 81}}
	b := healthcheck.Target{Server: netip.MustParseAddrPort("192.0.2.21:81"), Check: tcp}
	if targetID(a) != targetID(b) {
		t.Errorf("%q and %q", targetID(a), targetID(b))
	}
	up, down := status("192.0.2.21:81", tcp, healthcheck.Up, "ok"), status("192.0.2.21:81", tcp, healthcheck.Down, "no")
	for _, all := range [][]healthcheck.Status{{up, down}, {down, up}} {
		if got := observe(all)[targetID(b)]; got.State != "down" || got.Reason != "no" {
			t.Errorf("%+v", got)
		}
	}
}

// TestUnbelievable: what no director says ends the session.
func TestUnbelievable(t *testing.T) {
	c := newComparison()
	s := &peer.Session{}
	c.open("lvs2", s)
	many := told{Seen: make(map[string]seen)}
	for i := range maxSeen + 1 {
		many.Seen[fmt.Sprint(i)] = seen{State: "up"}
	}
	full, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "[]", `{"seen":{"a":{"state":"superb"}}}`, string(full)} {
		if err := c.receive("lvs2", s, []byte(bad)); err == nil {
			t.Errorf("%.60q is believed", bad)
		}
	}
	c.open("lvs2", s)
	// A name that is too long is nobody's, and passed over.
	if err := c.receive("lvs2", s, []byte(`{"seen":{"`+strings.Repeat("x", maxID+1)+`":{"state":"up"}}}`)); err != nil || len(c.others["lvs2"].sees) != 0 {
		t.Errorf("%v, %d seen", err, len(c.others["lvs2"].sees))
	}
	long := healthcheck.Target{Server: netip.MustParseAddrPort("192.0.2.21:80"), Check: healthcheck.Check{
		Ask: healthcheck.Exec{Command: healthcheck.NewList("/bin/check", strings.Repeat("é", maxID))},
	}}
	other := long
	other.Check.Ask = healthcheck.Exec{Command: healthcheck.NewList("/bin/check", strings.Repeat("é", maxID)+"x")}
	if id := targetID(long); len(id) > maxID || !utf8.ValidString(id) || id == targetID(other) {
		t.Errorf("%d octets: %q", len(id), id)
	}
	if err := c.receive("lvs2", s, []byte(`{"future":1,"seen":{"a":{"state":"up","reason":"a\nb\u001b[2J"}}}`)); err != nil {
		t.Error(err)
	}
	if got := c.others["lvs2"].sees["a"].Reason; got != "a?b?[2J" {
		t.Errorf("the reason is %q", got)
	}
	// An old session says nothing any more.
	if err := c.receive("lvs2", &peer.Session{}, []byte(`{"seen":{"b":{"state":"up"}}}`)); err != nil || len(c.others["lvs2"].sees) == 0 {
		t.Error(err)
	}
	if _, has := c.others["lvs2"].sees["b"]; has {
		t.Error("an old session is believed")
	}
}

// TestChannelStatus: what is said about a channel that cannot be.
func TestChannelStatus(t *testing.T) {
	key, err := peer.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("key = %q\n", peer.PinOf(key))
	rest := "[peer]\nkey_file = \"" + filepath.Join(t.TempDir(), "director.key") + "\"\n[sync]\ninterface = \"eth0\"\n"
	for _, tt := range []struct{ file, reason, problem string }{
		{"[director.lvs1]\n", "", ""},
		{"[director.lvs1]\n[director.lvs2]\n", "no key in the file (lvsha key)", ""},
		{"[director.lvs1]\n[director.lvs2]\n" + line, "no key of [director.lvs1] in the file (lvsha key)", ""},
		{"[director.lvs1]\n" + line + "[director.lvs2]\n", "no such file or directory", "the channel to other directors is off: "},
	} {
		cfg := parse(t, tt.file+rest)
		d := director(t, cfg)
		d.channel.Configure(channelConfig(cfg))
		channel, problems := d.channelStatus(cfg)
		if channel == nil {
			if tt.reason != "" {
				t.Errorf("%q: nothing is said", tt.file)
			}
			continue
		}
		if channel.State != "off" || !strings.HasSuffix(channel.Reason, tt.reason) || tt.reason == "" {
			t.Errorf("%q: %+v, want %q", tt.file, channel, tt.reason)
		}
		if got := strings.Join(problems, ""); !strings.HasPrefix(got, tt.problem) || (got == "") != (tt.problem == "") {
			t.Errorf("%q: problems %q", tt.file, got)
		}
	}
}

// director is one that does not run.
func director(t *testing.T, cfg *config.Config) *Director {
	t.Helper()
	d, err := New(Options{
		Load: func() (*config.Config, error) { return cfg, nil }, Dir: t.TempDir(), State: t.TempDir(),
		Links: vrrptest.NewLinks((&vrrptest.Segment{}).NewPort([6]byte{2})),
		IPVS:  func() (ipvs.Kernel, error) { return nil, errors.New("none") },
		Sync:  func() (connsync.Kernel, error) { return nil, errors.New("none") },
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.PeerView(healthcheck.Target{}); !slices.Equal(got, nil) {
		t.Errorf("views of nobody: %v", got)
	}
	return d
}

// TestTellsMute: what another director makes of a server is what it does itself, so a
// check that passes there without a word of the server counts for nothing here either.
func TestTellsMute(t *testing.T) {
	const server = "192.0.2.21:80"
	udp := healthcheck.Check{Ask: healthcheck.UDP{}, Interval: time.Second, Rise: 2, Fall: 3}
	mute := status(server, udp, healthcheck.Up, "no ICMP error")
	mute.Mute = true
	dead := status(server, tcp, healthcheck.Down, "timeout")
	one, other := two(nil, []healthcheck.Status{mute, dead})
	tell(t, other, "lvs1", one, "lvs2")
	verdicts := func() (out []healthcheck.Verdict) {
		for _, s := range []healthcheck.Status{mute, dead} {
			for _, v := range one.views(targetID(s.Target)) {
				out = append(out, v.Verdict)
			}
		}
		return out
	}
	there := healthcheck.RequireAny.Combine([]healthcheck.Verdict{mute.Verdict, dead.Verdict})
	if here := healthcheck.RequireAny.Combine(verdicts()); here.State != there.State || there.State != healthcheck.Down {
		t.Errorf("it is %s for the other director, and %s there", here.State, there.State)
	}
	// A word of the server is told, although the state is the same.
	mute.Mute = false
	other.own = observe([]healthcheck.Status{mute, dead})
	tell(t, other, "lvs1", one, "lvs2")
	if here := healthcheck.RequireAny.Combine(verdicts()); here.State != healthcheck.Up {
		t.Errorf("after a word it is %s", here.State)
	}
}

// TestServerViews: what others see of a server is what they said last, as long as they are
// there, and what is handed out once does not change.
func TestServerViews(t *testing.T) {
	cfg, err := config.Parse("lvsha.toml", []byte(`
[service.web]
listen = "192.0.2.10:80/tcp"
owner = "none"
forward = "nat"
check = { type = "tcp" }
[[service.web.server]]
address = "10.0.0.1"
`), config.Identity{})
	if err != nil {
		t.Fatal(err)
	}
	var j judging
	j.set(cfg, steering{})
	server := &j.rows[0].servers[0]
	c, s := newComparison(), &peer.Session{}
	c.open("lvs2", s)
	state := func() string {
		return c.serverViews(healthcheck.RequireAll, server)["lvs2"].State
	}
	say := func(what string) {
		t.Helper()
		if err := c.receive("lvs2", s, []byte(what)); err != nil {
			t.Fatal(err)
		}
	}
	if got := state(); got != "" {
		t.Errorf("%q before anything is said", got)
	}
	id := server.shows.checks[0].id
	say(`{"seen":{"` + id + `":{"state":"up"}}}`)
	first := c.serverViews(healthcheck.RequireAll, server)
	if got := state(); got != "up" {
		t.Errorf("%q, want up", got)
	}
	say(`{"seen":{"` + id + `":{"state":"down"}}}`)
	if got := state(); got != "down" || first["lvs2"].State != "up" {
		t.Errorf("%q, want down; what was handed out before is %q", got, first["lvs2"].State)
	}
	say(`{"gone":["` + id + `"]}`)
	if got := state(); got != "" {
		t.Errorf("%q of a check that it has no more", got)
	}
	say(`{"seen":{"` + id + `":{"state":"up"}}}`)
	c.shut("lvs2", s)
	if got := state(); got != "" {
		t.Errorf("%q of one that is gone", got)
	}
}
