package main

import (
	"context"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"os"
	"os/signal"
	gc "runtime/debug"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"lvsha/internal/bfd"
	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/director"
	"lvsha/internal/netif"
	"lvsha/internal/packetfilter"
	"lvsha/internal/program"
	"lvsha/ipvs"
	connsync "lvsha/sync"
	"lvsha/vrrp"
)

func run(ctx context.Context, c *call) error {
	file, as := c.fileFlags()
	socket := c.socketFlag()
	kernel := c.flags.String("kernel", "linux", "`which` IPVS to drive: linux, or memory for try-outs without one")
	kernelLog := c.flags.String("kernel-log", "", "with --kernel=memory: write each change to this `file`")
	realtime := c.flags.Int("realtime", 0, "real-time `priority` of the VRRP thread, 1 to 99, with the memory locked; 0 is neither")
	state := c.flags.String("state", "", "the `directory` of what operators ask for (default: /var/lib/lvsha, or beside a socket that -s names)")
	debug := c.flags.Bool("debug", false, "log more")
	if err := c.parse(); err != nil {
		return err
	}
	if *kernel != "linux" && *kernel != "memory" {
		fmt.Fprintf(c.stderr, "lvsha run: --kernel is linux or memory, not %q\n", *kernel)
		return errUsage
	}
	if *realtime < 0 || *realtime > 99 {
		fmt.Fprintf(c.stderr, "lvsha run: --realtime is 1 to 99, or 0 for none, not %d\n", *realtime)
		return errUsage
	}
	filled := make(chan struct{})
	if os.Getenv("GOGC") == "" {
		// Until the table is first filled nothing is worth a collection.
		gc.SetGCPercent(400)
	}
	// From here on no signal is the end: what a dead daemon left in the kernel
	// may be ours already.
	signals := notifySignals()
	defer signals.ignore()
	lines := newLogWriter(c.stderr)
	defer lines.Close()
	log := newLogger(lines, *debug)
	// Libraries say there what servers do that is none of the operator's business.
	stdlog.SetFlags(0)
	stdlog.SetOutput(slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer())
	dir := runDir(*socket)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory of the control socket: %w", err)
	}
	lock, err := director.Lock(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	port, err := vrrp.NewPort()
	if err != nil {
		return err
	}
	sessions, err := bfd.NewPort()
	if err != nil {
		return err
	}
	links := netif.New(log)
	defer links.Close()
	if *realtime > 0 {
		lockMemory(log)
	}
	options := director.Options{
		Version: version(),
		Load:    config.NewLoader(*file, *as).Load,
		Parse: func(name string, text []byte) (*config.Config, error) {
			host, _ := os.Hostname() // without one the problem is that no director matches, and says so
			return config.Parse(name, text, config.Identity{As: *as, Hostname: host})
		},
		Dir: dir, State: stateDir(*state, *socket), Logger: log,
		Port: port, BFD: sessions, Links: links, Routing: links, IPVS: ipvs.Open, Sync: connsync.Open, Filter: packetfilter.Open, Helpers: ipvs.Helpers, Conns: connsync.Host{}, LocalTo: netif.LocalTo,
		VRRPThread: func() { scheduleVRRP(*realtime, log) },
		Filled:     func() { close(filled) },
		Notify: func(state string) {
			if _, err := daemon.SdNotify(false, state); err != nil {
				log.Debug("notifying the service manager", "error", err)
			}
		},
	}
	if *kernel == "memory" {
		done, err := useMemory(&options, *kernelLog)
		if err != nil {
			return err
		}
		defer done()
	}
	if options.Watchdog, err = daemon.SdWatchdogEnabled(false); err != nil {
		log.Warn("reading the watchdog's interval", "error", err)
	}
	d, err := director.New(options)
	if err != nil {
		return err
	}
	server, err := control.Listen(*socket, d, log)
	if err != nil {
		return err
	}
	return serve(ctx, d, server, signals, filled, log)
}

// settle is for the time after the start: with thousands of servers most of the heap
// lives long, and probes leave little behind, so that more collections cost less than room
// for garbage.
func settle() {
	if os.Getenv("GOGC") == "" {
		gc.SetGCPercent(50)
		gc.FreeOSMemory()
	}
}

// stateDir is where what operators ask for survives reboots.
func stateDir(named, socket string) string {
	switch {
	case named != "":
		return named
	case socket == control.DefaultSocket:
		return "/var/lib/lvsha"
	}
	return runDir(socket)
}

// signals are what the daemon is told by signals. A stop has a channel of its
// own, which no storm of reloads can fill.
type signals struct{ stop, hangup chan os.Signal }

func notifySignals() signals {
	s := signals{stop: make(chan os.Signal, 4), hangup: make(chan os.Signal, 1)}
	signal.Notify(s.stop, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2)
	signal.Notify(s.hangup, syscall.SIGHUP)
	return s
}

func (s signals) ignore() {
	signal.Stop(s.stop)
	signal.Stop(s.hangup)
}

// serve runs the daemon and its socket until a signal or a failure ends them.
// SIGTERM and SIGINT give everything up, SIGUSR2 leaves everything to the next
// process, SIGHUP reloads.
func serve(ctx context.Context, d *director.Director, server *control.Socket, signals signals, filled <-chan struct{}, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Run(ctx) })
	group.Go(func() error {
		if err := program.Reap(ctx); err != nil {
			log.Error("burying the children of programs", "error", err)
		}
		return nil
	})
	group.Go(func() error {
		select {
		case <-filled:
			settle()
		case <-ctx.Done():
		}
		return nil
	})
	group.Go(func() error {
		defer cancel()
		return d.Run(ctx)
	})
	group.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case s := <-signals.stop:
				if s == syscall.SIGUSR2 {
					d.Stop(vrrp.Hold)
				} else {
					d.Stop(vrrp.Release)
				}
			}
		}
	})
	// Not of the group: reading a file may take for ever, and no end waits for it.
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals.hangup:
				if _, err := d.Reload(ctx); err != nil {
					log.Error("the file was refused and nothing changed", "error", err)
				}
			}
		}
	}()
	return group.Wait()
}

// useMemory replaces the kernel's IPVS by one in memory.
func useMemory(options *director.Options, logFile string) (done func() error, err error) {
	var w io.Writer
	done = func() error { return nil }
	if logFile != "" {
		f, err := os.Create(logFile)
		if err != nil {
			return nil, fmt.Errorf("opening the kernel log: %w", err)
		}
		w, done = f, f.Close
	}
	table, daemons := ipvs.NewMemory(w), connsync.NewMemory()
	options.IPVS = func() (ipvs.Kernel, error) { return table, nil }
	options.Sync = func() (connsync.Kernel, error) { return daemons, nil }
	options.Conns, options.Filter, options.Helpers = nil, nil, nil
	options.InMemory = true
	return done, nil
}

// newLogger writes text; the journal has its own time stamps.
func newLogger(w io.Writer, debug bool) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if debug {
		options.Level = slog.LevelDebug
	}
	if os.Getenv("JOURNAL_STREAM") != "" {
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(w, options))
}
