package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"lvsha/examples"
	"lvsha/internal/lab"
)

// What examples/dr-pair/lvsha.toml says.
const (
	advertise     = 100 * time.Millisecond
	checkInterval = time.Second
	checkTimeout  = 500 * time.Millisecond
	rise, fall    = 2, 3
	backupSkew    = (256 - 100) * advertise / 256
)

// settled bounds the wait for what is no promise: that a part of the story has come
// to rest before the next one begins.
const settled = time.Minute

// connectionCount is how many connections live through the death of a director.
const connectionCount = 1000

// Story builds the network, tells the story and returns ErrBroken if a promise
// was not kept. slack is added to what is timed, as is the time for which the machine
// itself did not run.
func Story(ctx context.Context, w io.Writer, slack time.Duration) error {
	t := &teller{w: w, begun: time.Now()}
	n, err := build()
	if err != nil {
		return err
	}
	s := &story{teller: t, network: n, slack: slack, stalls: lab.WatchStalls(), requests: newRequester(n.client.Host)}
	err = s.tell(ctx)
	s.stalls.Stop()
	if err := errors.Join(err, n.lab.Close()); err != nil {
		return err
	}
	if !t.table() {
		return ErrBroken
	}
	return nil
}

type story struct {
	*teller
	*network
	slack    time.Duration
	stalls   *lab.Stalls
	requests *requester
	sniffer  *lab.Sniffer
}

func (s *story) tell(ctx context.Context) error {
	for _, chapter := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"A pair of directors starts", s.start},
		{"Requests spread over the servers", s.balance},
		{"A real server's process is killed and comes back", s.loseServer},
		{"The active director dies with its link, and comes back", s.loseDirector},
		{"It dies under 1,000 established connections", s.keepConnections},
		{"The active director is stopped, as for maintenance", s.stopDirector},
		{"The file changes, and lvsha is restarted, as for an upgrade", s.reloadAndRestart},
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.chapter(chapter.title)
		if err := chapter.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(chapter.title), errors.Join(err, s.logs()))
		}
	}
	return s.sniffer.Stop()
}

// logs is what the directors printed, for a story that went wrong.
func (s *story) logs() error {
	var text strings.Builder
	for _, d := range s.lvs {
		if d.daemon != nil {
			fmt.Fprintf(&text, "\n%s printed:\n%s", d.Name, d.daemon.Output())
		}
	}
	return errors.New(text.String())
}

func (s *story) start(context.Context) (err error) {
	s.say("client 192.0.2.100, directors lvs1 .1 and lvs2 .2, servers web1 .21 web2 .22 web3 .23, all on one segment")
	if s.sniffer, err = lab.StartSniffer(s.client.Host, "eth0"); err != nil {
		return err
	}
	for _, server := range s.servers {
		if err := s.serve(server); err != nil {
			return err
		}
	}
	begun := time.Now()
	for _, d := range s.lvs {
		if err := s.direct(d); err != nil {
			return err
		}
	}
	s.say("lvsha run --realtime 20 on both, with the same examples/dr-pair/lvsha.toml; the virtual address is %s", vip)
	_, err = lab.Eventually("lvs1 active, lvs2 backup, all servers in both kernels", settled, func() bool {
		return s.ready(s.lvs[0], "active") && s.ready(s.lvs[1], "backup")
	})
	if err != nil {
		return err
	}
	s.say("ready after %s: lvs1 is active, lvs2 backup, both kernels have the whole table", ms(time.Since(begun)))
	text, err := s.lvsha(s.lvs[0], "status")
	if err != nil {
		return err
	}
	s.quote("lvs1# lvsha status", text)
	return nil
}

// quote shows a command with its output.
func (s *story) quote(command, text string) {
	s.say("%s", command)
	for line := range strings.Lines(text) {
		fmt.Fprintf(s.w, "         | %s", line)
	}
}

// ready reports whether a director is in a state and has all servers in use.
func (s *story) ready(d *node, state string) bool {
	if d.state() != state {
		return false
	}
	rows, err := serversOf(d)
	return err == nil && rows == 2*len(s.servers)
}

// serversOf counts the rows of real servers in the kernel of a director.
func serversOf(d *node, containing ...string) (int, error) {
	text, err := d.ReadFile("/proc/thread-self/net/ip_vs")
	if err != nil {
		return 0, err
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "  -> ") && !strings.Contains(line, "RemoteAddress") &&
			!slices.ContainsFunc(containing, func(c string) bool { return !strings.Contains(line, c) }) {
			rows++
		}
	}
	return rows, nil
}

func (s *story) balance(ctx context.Context) error {
	const count = 1000
	begun := time.Now()
	counts, err := s.requests.askMany(ctx, count)
	if err != nil {
		return err
	}
	s.say("%d requests in %s: web1 (weight 2) %d, web2 %d, web3 %d", count, ms(time.Since(begun)), counts["web1"], counts["web2"], counts["web3"])
	worst := 0.0
	for name, share := range map[string]float64{"web1": 0.5, "web2": 0.25, "web3": 0.25} {
		off := float64(counts[name])/(share*count) - 1
		worst = max(worst, off, -off)
	}
	s.promise(worst <= 0.05, "1,000 requests by weight 2:1:1", "within 5 %", fmt.Sprintf("within %.1f %%", worst*100))
	return nil
}

func (s *story) loseServer(ctx context.Context) error {
	victim := s.servers[1]
	row := "C0000216:0050" // 192.0.2.22:80, as /proc prints it
	inPool := func() bool {
		n, err := serversOf(s.lvs[0], row)
		return err == nil && n == 1
	}
	stop := s.requests.askSteadily(ctx, 20*time.Millisecond)
	killed := time.Now() // its end is waited for, which takes a while
	if err := victim.process.Kill(); err != nil {
		return err
	}
	s.say("killed the server on web2")
	out, err := lab.Eventually("web2 out of the pool", settled, func() bool { return !inPool() })
	if err != nil {
		return err
	}
	s.timed("killed server out of the pool", fall*checkInterval+checkTimeout+200*time.Millisecond, killed, out)
	if err := s.serve(victim); err != nil {
		return err
	}
	if _, err := lab.Eventually("web2's server listening", settled, func() bool { return listening(victim) }); err != nil {
		return err
	}
	revived := time.Now()
	s.say("started the server on web2 again")
	back, err := lab.Eventually("web2 back in the pool", 20*time.Second, inPool)
	if err != nil {
		return err
	}
	s.timed("revived server back in the pool", rise*checkInterval+200*time.Millisecond, revived, back)
	answers := stop()
	inside, outside := 0, 0
	for _, a := range answers {
		switch {
		case a.err == nil:
		case a.begun.Add(a.took).After(killed) && a.begun.Before(out):
			inside++
		default:
			outside++
			s.say("lost: a request begun %s after the kill (out of the pool after %s, back after %s), after %s: %v",
				ms(a.begun.Sub(killed)), ms(out.Sub(killed)), ms(back.Sub(killed)), ms(a.took), a.err)
		}
	}
	s.promise(outside == 0, "requests lost outside that window", "none", fmt.Sprintf("%d of %d (%d inside)", outside, len(answers), inside))
	return nil
}

// timed is a promise that something takes at most limit, and what emulation and the
// stalls of the machine add to that.
func (s *story) timed(what string, limit time.Duration, from, to time.Time) {
	limit += s.slack
	promised := "within " + ms(limit)
	if stalled := s.stalls.Between(from, to); stalled > 0 {
		limit += stalled
		promised += fmt.Sprintf(" + %s stalled", ms(stalled))
	}
	s.promise(to.Sub(from) <= limit, what, promised, ms(to.Sub(from)))
}

// listening reports whether somebody listens on port 80 of the host.
func listening(server *node) bool {
	text, err := server.ReadFile("/proc/thread-self/net/tcp")
	return err == nil && strings.Contains(string(text), "00000000:0050 00000000:0000 0A")
}

// kill cuts the active director's link and kills its daemon, and returns when
// nothing of it could be heard any more. The cut comes first: it takes a while, and
// what is heard until then was sent.
func (s *story) kill(d *node) (time.Time, error) {
	if err := d.port.Cut(); err != nil {
		return time.Time{}, err
	}
	died := time.Now()
	err := d.daemon.Kill()
	s.say("%s: link cut and kill -9", d.Name)
	return died, err
}

// boot lets a dead director come back as after a boot: no address, no record,
// lvsha starts, its link is there.
func (s *story) boot(d, other *node) error {
	s.say("%s boots again: no address, no record, lvsha starts, its link is back", d.Name)
	if _, err := d.Run("ip", "addr", "del", vip.String()+"/24", "dev", "eth0"); err != nil {
		return err
	}
	if err := d.Do(func() error { return os.RemoveAll("/run/lvsha") }); err != nil {
		return err
	}
	if err := errors.Join(d.port.Mend(), s.direct(d)); err != nil {
		return err
	}
	_, err := lab.Eventually(d.Name+" active again", settled, func() bool { return s.ready(d, "active") && other.state() == "backup" })
	return err
}

func (s *story) loseDirector(ctx context.Context) error {
	old, heir := s.lvs[0], s.lvs[1]
	ping, err := lab.StartPing(s.client.Host, vip, time.Millisecond)
	if err != nil {
		return err
	}
	if err := pause(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	died, err := s.kill(old)
	if err != nil {
		return err
	}
	if _, err := lab.Eventually("lvs2 active", settled, func() bool { return heir.state() == "active" }); err != nil {
		return err
	}
	if err := pause(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	probes, err := ping.Stop()
	if err != nil {
		return err
	}
	last, ok := s.sniffer.Last(old.address, died)
	if !ok {
		return errors.New("no advertisement of lvs1 was seen")
	}
	begin, end := lab.Outage(probes, last.At)
	s.say("the address was silent for %s", ms(end.Sub(begin)))
	s.timed("failover: last advertisement to first answer", 3*advertise+backupSkew+5*time.Millisecond, last.At, end)
	text, err := s.lvsha(heir, "events")
	if err != nil {
		return err
	}
	s.quote("lvs2# lvsha events (the last one)", lastLines(text, 1))

	lost, sent, err := s.lostWhile(ctx, func() error { return s.boot(old, heir) })
	if err != nil {
		return err
	}
	s.promise(lost <= 1, "1 ms probes lost when lvs1 takes over again", "at most 1", fmt.Sprintf("%d of %d", lost, sent))
	return nil
}

func (s *story) keepConnections(ctx context.Context) error {
	old, heir := s.lvs[0], s.lvs[1]
	connections, err := converse(ctx, s.client.Host, connectionCount)
	if err != nil {
		return err
	}
	s.say("%d connections established through the virtual address, each used once a second", connectionCount)
	if err := pause(ctx, 4*time.Second); err != nil { // the kernel sends its sync records every two seconds
		return err
	}
	if _, err := s.kill(old); err != nil {
		return err
	}
	if _, err := lab.Eventually("lvs2 active", settled, func() bool { return heir.state() == "active" }); err != nil {
		return err
	}
	if err := pause(ctx, 2*time.Second); err != nil { // every connection is used
		return err
	}
	alive, rounds := connections.alive()
	s.promise(alive == connectionCount, "established connections that go on through lvs2", fmt.Sprint(connectionCount),
		fmt.Sprintf("%d, %d exchanges so far", alive, rounds))
	if err := s.boot(old, heir); err != nil {
		return err
	}
	if err := pause(ctx, 1500*time.Millisecond); err != nil {
		return err
	}
	alive, cause := connections.close()
	if cause != nil {
		s.say("a connection ended: %v", cause)
	}
	s.promise(alive == connectionCount, "the same after lvs1 has taken over again", fmt.Sprint(connectionCount), fmt.Sprint(alive))
	return nil
}

// pause waits, for things that have no condition to wait for.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func lastLines(text string, n int) string {
	lines := slices.Collect(strings.Lines(text))
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// lostWhile counts the 1 ms probes that nobody answers while act runs and half
// a second before and after.
func (s *story) lostWhile(ctx context.Context, act func() error) (lost, sent int, err error) {
	ping, err := lab.StartPing(s.client.Host, vip, time.Millisecond)
	if err != nil {
		return 0, 0, err
	}
	err = pause(ctx, 500*time.Millisecond)
	begun := time.Now()
	err = errors.Join(err, act(), pause(ctx, 500*time.Millisecond))
	probes, stopErr := ping.Stop()
	for _, run := range lab.LostRuns(probes, begun) {
		s.say("lost: probes, %s", run)
	}
	return lab.Lost(probes, time.Time{}, time.Now()), len(probes), errors.Join(err, stopErr)
}

func (s *story) stopDirector(ctx context.Context) error {
	lost, sent, err := s.lostWhile(ctx, func() error {
		if _, err := s.lvs[0].daemon.End(syscall.SIGTERM); err != nil {
			return err
		}
		_, err := lab.Eventually("lvs2 active", settled, func() bool { return s.lvs[1].state() == "active" })
		return err
	})
	if err != nil {
		return err
	}
	s.promise(lost <= 1, "1 ms probes lost by a stop", "at most 1", fmt.Sprintf("%d of %d", lost, sent))
	rows, err := serversOf(s.lvs[0])
	if err != nil {
		return err
	}
	text, err := s.lvs[0].Run("ip", "-br", "addr", "show", "dev", "eth0")
	if err != nil {
		return err
	}
	clean := rows == 0 && !strings.Contains(text, vip.String()+"/")
	s.promise(clean, "left behind on the stopped director", "nothing", fmt.Sprintf("%d servers in IPVS, %s", rows, strings.Join(strings.Fields(text)[2:], " ")))
	if err := s.direct(s.lvs[0]); err != nil {
		return err
	}
	_, err = lab.Eventually("lvs1 active again", settled, func() bool { return s.ready(s.lvs[0], "active") })
	return err
}

func (s *story) reloadAndRestart(ctx context.Context) error {
	d := s.lvs[0]
	wrong := strings.Replace(examples.DRPair, `scheduler = "wrr"`, `schedular = "wrr"`, 1)
	if err := d.WriteFile(configFile, []byte(wrong), 0o644); err != nil {
		return err
	}
	before, err := d.ReadFile("/proc/thread-self/net/ip_vs")
	if err != nil {
		return err
	}
	_, refusal := s.lvsha(d, "reload")
	after, err := d.ReadFile("/proc/thread-self/net/ip_vs")
	if err != nil {
		return err
	}
	if refusal != nil {
		_, message, _ := strings.Cut(refusal.Error(), "exit status 1: ")
		s.quote("lvs1# lvsha reload (with a spelling mistake in the file)", message+"\n")
	}
	s.promise(refusal != nil && keys(before) == keys(after), "a wrong file", "refused, nothing changed", map[bool]string{true: "refused", false: "accepted"}[refusal != nil])

	right := strings.Replace(examples.DRPair, "weight  = 2", "weight  = 3", 1)
	if err := d.WriteFile(configFile, []byte(right), 0o644); err != nil {
		return err
	}
	lost, sent, err := s.lostWhile(ctx, func() error {
		text, err := s.lvsha(d, "reload")
		s.quote("lvs1# lvsha reload (with weight 3 for web1)", text)
		return err
	})
	if err != nil {
		return err
	}
	rows, err := serversOf(d, "C0000215:0050", " 3 ")
	if err != nil {
		return err
	}
	s.promise(lost == 0 && rows == 1, "1 ms probes lost by a reload", "0, weight 3 in the kernel", fmt.Sprintf("%d of %d", lost, sent))

	lost, sent, err = s.lostWhile(ctx, func() error {
		if _, err := d.daemon.End(syscall.SIGUSR2); err != nil {
			return err
		}
		if err := s.direct(d); err != nil {
			return err
		}
		_, err := lab.Eventually("lvs1 active again", settled, func() bool { return s.ready(d, "active") })
		return err
	})
	if err != nil {
		return err
	}
	s.promise(lost == 0, "1 ms probes lost by a restart", "0", fmt.Sprintf("%d of %d", lost, sent))
	return nil
}

// keys is a table of the kernel without the columns that count connections.
func keys(table []byte) string {
	var out strings.Builder
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		out.WriteString(strings.Join(fields[:min(len(fields), 4)], " ") + "\n")
	}
	return out.String()
}
