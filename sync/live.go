package connsync

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
)

// liveLimit is how many live messages may wait for a partner: what comes when it is
// full is lost, and made good by its next pull.
const liveLimit = 8192

// relayCounters count live records since the start.
type relayCounters struct {
	heard, gaps uint64
}

// slack is how much longer than its timeout an entry may live of which the kernel does
// not tell.
func slack(cfg ExchangeConfig) time.Duration { return cfg.Refresh + 10*time.Second }

// What there may be trouble with.
const (
	aboutTap    = "tap"
	aboutTable  = "table"
	aboutDaemon = "daemon"
)

// listener is the goroutine that hears the master daemon.
type listener struct {
	tap  Hearer
	of   Daemon
	done chan struct{}
}

func (l *listener) stop() {
	if l.tap == nil {
		return
	}
	_ = l.tap.Close() // ends Hear
	<-l.done
	l.tap = nil
}

// listen hears the master daemon where the channel carries its messages, and ends
// that where it does not.
func (e *Exchange) listen(l *listener) {
	e.mu.Lock()
	cfg := e.cfg
	e.mu.Unlock()
	i := slices.IndexFunc(cfg.Daemons, func(d Daemon) bool { return d.Role == Master })
	if e.opts.System == nil || !cfg.On || cfg.Transport != Channel || i < 0 {
		if l.tap != nil {
			l.stop()
			e.mu.Lock()
			e.shadow, e.warm = nil, false
			e.mu.Unlock()
		}
		return
	}
	master := cfg.Daemons[i].normal()
	if l.tap != nil {
		select {
		case <-l.done:
			l.stop()
		default:
			if l.of.same(master) {
				return
			}
			l.stop()
		}
	}
	tap, err := e.opts.System.Tap(master)
	if err != nil {
		e.trouble(aboutTap, err)
		return
	}
	e.trouble(aboutTap, nil)
	e.mu.Lock()
	if e.shadow != nil {
		// What was said in between is lost.
		for _, s := range e.sessions {
			s.gap = true
		}
	}
	e.shadow, e.warm, e.own = NewShadow(slack(cfg)), false, []uint64{tap.Inode()}
	e.mu.Unlock()
	l.tap, l.of, l.done = tap, master, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		e.hearAll(tap, master.ID)
	}(l.done)
}

// trouble keeps what is the matter with something of the kernel, nil for nothing.
func (e *Exchange) trouble(what string, err error) {
	e.mu.Lock()
	had := e.troubles[what]
	delete(e.troubles, what)
	if err != nil {
		e.troubles[what] = err.Error()
	}
	e.mu.Unlock()
	if err != nil && err.Error() != had {
		e.opts.Tell(slog.LevelWarn, "", err.Error())
	}
}

// hearAll takes in what the master daemon says until the tap is closed.
func (e *Exchange) hearAll(tap Hearer, id uint8) {
	buffer := make([]byte, 64<<10)
	for {
		n, gap, err := tap.Hear(buffer)
		if err != nil {
			return
		}
		m, err := Decode(buffer[:n])
		if err == nil && m.ID != id {
			continue // what was put in for the backup daemon
		}
		if err != nil && !errors.Is(err, ErrVersion0) {
			continue // of somebody else on this machine
		}
		now := time.Now()
		e.mu.Lock()
		if errors.Is(err, ErrVersion0) {
			e.version0 = true
		}
		e.relay.heard += uint64(len(m.Records))
		if gap {
			e.relay.gaps++
			e.warm = false
		}
		if e.shadow != nil {
			for _, r := range m.Records {
				e.shadow.Take(now, r)
			}
		}
		for _, s := range e.sessions {
			if gap {
				s.gap = true
			}
			select {
			case s.live <- slices.Clone(buffer[:n]):
			default:
				s.gap = true
			}
		}
		e.mu.Unlock()
	}
}

// seed fills the shadow with what the kernel has already.
func (e *Exchange) seed() {
	e.mu.Lock()
	pool, shadow, gaps, ready := e.pool, e.shadow, e.relay.gaps, e.s.unready == "" && !e.seeding && e.seen
	if !ready || shadow == nil {
		e.mu.Unlock()
		return
	}
	e.seeding = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.seeding = false
		e.mu.Unlock()
	}()
	for c, err := range e.opts.System.Conns(false) {
		if err != nil {
			e.trouble(aboutTable, err)
			return
		}
		r, why := pool.Record(c, nil)
		if why == passing || why == spared {
			continue
		}
		e.mu.Lock()
		shadow.Seed(time.Now(), r, time.Duration(c.Expires)*time.Second, why)
		e.mu.Unlock()
		if e.run.Err() != nil {
			return
		}
	}
	e.trouble(aboutTable, nil)
	e.mu.Lock()
	// Unless something was lost since it began.
	e.warm = e.shadow == shadow && e.relay.gaps == gaps
	e.mu.Unlock()
}

// meterEvery is how often the backup daemon's socket is looked at.
const meterEvery = 5 * time.Second

// meter looks at the backup daemon's socket, if there is nothing better to do.
func (e *Exchange) meter(now time.Time) {
	e.mu.Lock()
	due := e.s.problem == "" && e.s.unready == "" && now.Sub(e.metered) >= meterEvery
	e.mu.Unlock()
	if !due || !e.installing.TryLock() {
		return
	}
	defer e.installing.Unlock()
	err := e.openIntake()
	var waiting int
	var dropped uint64
	if err == nil {
		waiting, dropped, err = e.in.intake.Backlog()
	}
	if err != nil {
		e.dropIntake()
	}
	e.mu.Lock()
	e.failed++
	if err == nil {
		e.failed = 0
		// A socket begins with none, so that the first reading is one too, and so is that of a
		// daemon that was started anew, which counts from none again.
		if dropped != e.dropped && dropped > 0 {
			e.behindAll("the backup daemon's socket has dropped messages")
		}
	}
	e.waiting, e.dropped, e.metered = waiting, dropped, now
	told := e.failed == 0 || e.failed > 1 // a daemon may be about to start
	e.mu.Unlock()
	if told {
		e.trouble(aboutDaemon, err)
	}
}

// send sends live records to a partner.
func (e *Exchange) send(s *session) {
	for {
		var payload []byte
		select {
		case <-s.ctx.Done():
			return
		case m := <-s.out:
			if s.link.Send(s.ctx, m) != nil {
				return
			}
			continue
		case m := <-s.live:
			payload = append([]byte{sayLive}, m...)
		}
		count := uint64(payload[1+4])
	more:
		for len(payload) < payloadLimit {
			select {
			case m := <-s.live:
				payload = append(payload, m...)
				count += uint64(m[4])
			default:
				break more
			}
		}
		if s.link.Send(s.ctx, payload) != nil {
			return
		}
		e.mu.Lock()
		s.sent += count
		gap := s.gap && len(s.live) == 0
		if gap {
			s.gap = false
		}
		e.mu.Unlock()
		if gap && s.link.Send(s.ctx, []byte{sayGap}) != nil {
			return
		}
	}
}

// takeLive takes in what another director's kernel has said. Of the addresses that
// are served here only what is not known is taken: the others' news is older.
func (e *Exchange) takeLive(ctx context.Context, s *session, b []byte) error {
	var records []Record
	err := eachMessage(b, func(m Message) error {
		records = append(records, m.Records...)
		return nil
	})
	if errors.Is(err, ErrVersion0) {
		e.mu.Lock()
		e.version0 = true
		e.mu.Unlock()
		return nil
	}
	if err != nil {
		return err
	}
	e.mu.Lock()
	s.received += uint64(len(records))
	now := time.Now()
	o := e.owners(s.partner)
	records = slices.DeleteFunc(records, func(r Record) bool { return !e.takesLive(o, now, s, &r) })
	on := e.s.problem == "" && e.s.unready == ""
	t := e.taking
	e.mu.Unlock()
	if !on {
		return nil
	}
	if t != nil && t.session == s {
		for _, r := range records {
			t.fresh[r.Key] = true
		}
	}
	if err := e.put(ctx, records, nil); err != nil && ctx.Err() == nil {
		e.trouble(aboutDaemon, err)
		e.mu.Lock()
		s.partner.due = "live records could not be put in"
		e.mu.Unlock()
	}
	return nil
}

// put puts records into the kernel and the shadow.
func (e *Exchange) put(ctx context.Context, records []Record, repeated *int) error {
	if len(records) == 0 {
		return nil
	}
	e.installing.Lock()
	defer e.installing.Unlock()
	if err := e.openIntake(); err != nil {
		return err
	}
	lost := e.in.lost
	if err := e.in.install(ctx, records); err != nil {
		if ctx.Err() == nil {
			e.dropIntake()
		}
		return err
	}
	if repeated != nil {
		*repeated += e.in.lost - lost
	}
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shadow != nil {
		for _, r := range records {
			e.shadow.Take(now, r)
		}
	}
	return nil
}

// openIntake opens the way to the backup daemon. The caller holds installing.
func (e *Exchange) openIntake() error {
	e.mu.Lock()
	cfg := e.cfg
	e.mu.Unlock()
	i := slices.IndexFunc(cfg.Daemons, func(d Daemon) bool { return d.Role == Backup })
	if i < 0 {
		return errNoDaemon
	}
	backup := cfg.Daemons[i].normal()
	if e.in != nil && e.inFor.same(backup) {
		return nil
	}
	e.dropIntake()
	in, err := e.opts.System.Intake(backup, e.ownSockets)
	if err != nil {
		return err
	}
	e.in, e.inFor = newInstaller(in, backup.ID), backup
	return nil
}

func (e *Exchange) dropIntake() {
	if e.in != nil {
		_ = e.in.intake.Close() // of a socket that is only sent to
		e.in = nil
	}
}

func (e *Exchange) closeIntake() {
	e.installing.Lock()
	defer e.installing.Unlock()
	e.dropIntake()
}

// ownSockets are the inodes of sockets of this process on the daemons' group.
func (e *Exchange) ownSockets() []uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.own
}
