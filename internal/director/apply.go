package director

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/ipvs"
	connsync "lvsha/sync"
	"lvsha/vrrp"
)

// errStopping refuses a reload that comes too late.
var errStopping = errors.New("the daemon is stopping")

// Reload is part of control.Daemon: it reads the file again and applies the
// difference. When the file is refused nothing changes.
func (d *Director) Reload(ctx context.Context) (control.Reloaded, error) {
	cfg, answers, err := d.handIn(ctx)
	if err != nil {
		return control.Reloaded{}, err
	}
	answer := <-answers
	if answer.err != nil {
		return control.Reloaded{}, answer.err
	}
	done := control.Reloaded{Generation: answer.generation}
	// The kernel may take its time; the director's goroutine does not wait for it.
	wait, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	if err := d.table.Applied(wait, answer.tables); err != nil {
		done.Warnings = append(done.Warnings, "ipvs: "+err.Error())
	}
	if err := d.filter.Settled(wait); err != nil {
		done.Warnings = append(done.Warnings, "packet filter: "+err.Error())
	}
	d.event("reload", cfg.Director, fmt.Sprintf("applied %s, generation %d", cfg.File, answer.generation))
	d.log.Info("reloaded", "file", cfg.File, "generation", answer.generation)
	return done, nil
}

// handIn reads the file and hands it to the director's goroutine. One after the other: of
// two reloads at once the text that was read later has to be applied later.
func (d *Director) handIn(ctx context.Context) (*config.Config, <-chan reloaded, error) {
	select {
	case d.reloading <- struct{}{}:
		defer func() { <-d.reloading }()
	case <-d.ended:
		return nil, nil, errStopping
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	cfg, err := d.opts.Load()
	if err != nil {
		d.event("reload", "", "refused: "+err.Error())
		return nil, nil, err
	}
	request := reload{cfg: cfg, answer: make(chan reloaded, 1)}
	select {
	case d.reloads <- request:
		return cfg, request.answer, nil
	case <-d.ended:
		return nil, nil, errStopping
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// reload asks the director's goroutine to apply a file.
type reload struct {
	cfg    *config.Config
	answer chan reloaded
}

type reloaded struct {
	generation uint64
	// tables is the number of the table that the file has made.
	tables uint64
	err    error
}

// apply hands a configuration to the rooms. found is the kernel's table, which says which
// servers have traffic already.
func (d *Director) apply(ctx context.Context, cfg *config.Config, found func() []ipvs.Service) (generation uint64, err error) {
	d.record(cfg)
	if err := d.engine.Pace(ctx, cfg.Pacing); err != nil {
		return 0, fmt.Errorf("configuring the pacing of announcements: %w", err)
	}
	d.earlySysctls(cfg)
	d.mu.Lock()
	d.exchange.Set(d.exchangeConfig(cfg, syncDaemons(cfg, d.active)))
	first := d.generation == 0
	d.mu.Unlock()
	if !first {
		d.retrackAhead(cfg)
	}
	if err := d.engine.Configure(ctx, cfg.Routers, cfg.Groups...); err != nil {
		return 0, fmt.Errorf("configuring the virtual routers: %w", err)
	}
	if wait := d.exchange.Waiting(); first && wait != "" {
		// Before a living director of lower priority has been outlasted.
		for _, r := range cfg.Routers {
			d.engine.Track(r.Key(), vrrp.Tracked{Wait: wait})
		}
	}
	st := newSteering(cfg, d.steered(), sourceOf(cfg, d.opts.Routing))
	d.mu.Lock()
	was := d.rules()
	// What is probed is compared only where the file has changed: setting it anew costs
	// more than all the rest of changing a weight.
	asBefore := d.generation > 0 && sameTargets(d.cfg, d.steering, cfg, st)
	d.generation++
	d.cfg, d.steering, generation = cfg, st, d.generation
	d.judging.set(cfg, st)
	d.mu.Unlock()
	d.setHooks(cfg)
	d.follow(ctx)
	d.tracker.Set(cfg.Conditions)
	d.retrack()
	if !asBefore {
		table := found()
		d.monitor.Set(targets(cfg, st, usedBy(table, d.overrides.read().index())))
		if first {
			d.mu.Lock()
			d.judging.adopt(time.Now(), table)
			d.mu.Unlock()
		}
	}
	d.channel.Configure(channelConfig(cfg))
	if !asBefore {
		d.channel.touch()
	}
	d.serveNow()
	d.wantDaemons()
	d.changeOver(ctx, was)
	if generation > 1 {
		d.sysctlsSoon() // the first time when the table is filled
	}
	return generation, nil
}

// respected are the services of which others may change what the kernel has.
func respected(cfg *config.Config) (keys []ipvs.ServiceKey) {
	for _, s := range cfg.Services {
		if s.Respects {
			keys = append(keys, s.Listen...)
		}
	}
	return keys
}

// wantDaemons says which of the kernel's sync daemons are to run, and what is to be
// exchanged.
func (d *Director) wantDaemons() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.flushing {
		return
	}
	daemons := syncDaemons(d.cfg, d.active)
	d.exchange.Set(d.exchangeConfig(d.cfg, daemons))
	d.daemons.Set(connsync.Desired{Generation: d.generation, Daemons: daemons})
}

// syncDaemons are both daemons, or that of the role: the master's with an active virtual
// router, else the backup's.
func syncDaemons(cfg *config.Config, active map[vrrp.Key]bool) []connsync.Daemon {
	if cfg.Sync == nil {
		return nil
	}
	daemons := cfg.Sync.Daemons()
	if !cfg.Sync.ByRole {
		return daemons
	}
	role := connsync.Backup
	if slices.ContainsFunc(cfg.Routers, func(r vrrp.Config) bool { return active[r.Key()] }) {
		role = connsync.Master
	}
	return slices.DeleteFunc(daemons, func(d connsync.Daemon) bool { return d.Role != role })
}

// judgeShare is how many times longer than a judgment the time between two is at
// least: a storm of verdicts over thousands of servers must not be answered one by one.
const judgeShare = 4

// wantSoon is want for a change of health: at once, or when it is time again.
func (d *Director) wantSoon() {
	if wait := time.Until(d.judgeAfter); wait > 0 {
		d.rejudge.Reset(wait)
		return
	}
	d.want()
}

// judged are the services of the file, and those that it needs beside them. The caller
// holds mu.
func (d *Director) judged() []ipvs.Service {
	return slices.Concat(d.judging.table(), d.steering.services(), guardServices(d.cfg))
}

// desired are all services that the kernel is to have. The caller holds mu.
func (d *Director) desired() []ipvs.Service {
	out := d.judged()
	if len(d.waits) > 0 {
		out = slices.DeleteFunc(out, func(s ipvs.Service) bool { return d.waits[s.Key] })
	}
	if len(d.kept)+len(d.lingering.services) == 0 {
		return out
	}
	there := make(map[ipvs.ServiceKey]bool, len(out))
	for _, s := range out {
		there[s.Key] = true
	}
	for _, s := range slices.Concat(d.kept, d.lingering.services) {
		if !there[s.Key] {
			there[s.Key] = true
			out = append(out, s)
		}
	}
	return out
}

// want judges the services and hands the desired table to the reconciler, unless the
// table has been given up: a verdict that comes late must not bring it back.
func (d *Director) want() {
	now := time.Now()
	d.mu.Lock()
	translated := len(d.judging.leavingSources())
	next := d.judging.look(now, d.judgments, d.channel.opinions)
	translated -= len(d.judging.leavingSources())
	d.tracker.SetServices(serviceHealth(d.judging.rows))
	if !d.flushing {
		d.tables++
		d.table.Set(ipvs.Desired{
			Generation: d.tables, Timeouts: d.cfg.Timeouts, Services: d.desired(), Reload: d.generation, Respected: respected(d.cfg),
		})
	}
	quorums, doubt, hasten := d.judging.quorums(), d.judging.doubted.Why, d.judging.doubted.Hasten
	d.mu.Unlock()
	if hasten && !d.hastened {
		d.monitor.Soon(func(t healthcheck.Target) bool { return tells(t.Check) })
	}
	d.hastened = hasten
	if translated > 0 {
		d.wantFilter()
	}
	d.judgeAfter = now.Add((1 + judgeShare) * time.Since(now))

	if now.Before(d.vouched) && (next.IsZero() || d.vouched.Before(next)) {
		next = d.vouched
	}
	if !next.IsZero() {
		d.rejudge.Reset(next.Sub(now))
	}
	d.notifyQuorums(quorums, now)
	if doubt != d.doubtTold {
		d.doubtTold = doubt
		if doubt == "" {
			doubt = "this director is not doubted any more"
		}
		d.log.Warn(doubt)
		d.event("health", d.cfg.Director, doubt)
		d.retrack()
	}
}

// kernelTable is the table found at the start; empty when there is none.
func (d *Director) kernelTable() []ipvs.Service {
	kernel, err := d.opts.IPVS()
	if err != nil {
		return nil // the reconciler meets the same error and shows it
	}
	defer kernel.Close()
	table, err := kernel.List()
	if err != nil {
		return nil
	}
	return table
}
