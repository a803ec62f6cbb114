// Certificates of old appliances have negative serial numbers, which a check with
// insecure = true takes like any other. There is no way to allow them for one connection.
//
//go:debug x509negativeserial=1

// Command lvsha is the HA director for Linux Virtual Server: one daemon and
// the commands to watch and steer it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/plain"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // the thing asked for is not so, or failed
	exitUsage  = 2
)

// command is one word after lvsha.
type command struct {
	name  string
	args  string // for the usage line
	about string
	// run gets the words after the command's own and returns nil for exit code 0.
	run func(ctx context.Context, c *call) error
}

// call is one use of a command.
type call struct {
	flags  *flag.FlagSet
	args   []string
	stdout io.Writer
	stderr io.Writer
	// terminal is stdout for what is to steer it.
	terminal io.Writer
}

func commands() []command {
	return []command{
		{"run", "[-c FILE] [--as NAME] [-s SOCKET]", "run the daemon", run},
		{"check", "[-c FILE] [--as NAME]", "validate the file and name every problem in it", check},
		{"reload", "[-s SOCKET]", "make the daemon apply its file; returns when it is applied", reload},
		{"plan", "[-c FILE] [--json] [-s SOCKET]", "show what applying a file would change, and which connections that would cut", plan},
		{"status", "[NAME…] [--json] [--watch] [-s SOCKET]", "show what is, with reasons; a service or virtual router by name in detail", status},
		{"yield", "[VROUTER] [--for TIME] [--now] [--back]", "give addresses to the other director, gracefully, or take them back", yield},
		{"drain", "SERVICE SERVER [--for TIME] [--wait] [--force]", "give a server no new connections, and take it out when it has none left", drain},
		{"undrain", "SERVICE SERVER", "end a drain: the server takes connections again", undrain},
		{"weight", "SERVICE SERVER N [--for TIME] [--back] [--force]", "put a weight in place of the file's, or go back to it", weigh},
		{"sync", "[status|verify|resync] [--from DIRECTOR] [--json]", "show, compare or take over the connections of the other director", syncCommand},
		{"events", "[-f] [--json] [-s SOCKET]", "show what happened, newest last", events},
		{"key", "[--out FILE] [--as NAME]", "make this director's key, and print the line for the file", key},
		{"realserver", "up|down|status [--vip ADDRESS…]", "do a real server's half of direct routing and tunnels, or undo it", realServer},
		{"connections", "[--service S] [--client C] [--count] …", "list or count the kernel's connections", connections},
		{"save", "[--json]", "print the kernel's table as ipvsadm-save -n does", save},
		{"restore", "[FILE] [--dry-run] [--json]", "have the services of saved rules in the kernel, all or nothing", restore},
		{"doctor", "[-v] [--json] [-c FILE] [-s SOCKET]", "look for the faults that checks of servers do not explain", runDoctor},
		{"cleanup", "[--all] [-s SOCKET]", "give up what a dead daemon left behind", cleanup},
		{"demo", "", "show a throw-away pair of directors at work", runDemo},
		{"version", "", "print the version", printVersion},
	}
}

// errUsage is returned for wrong usage that has been explained.
var errUsage = errors.New("wrong usage")

// errSilent is returned for a failure that has been explained.
var errSilent = errors.New("failed")

func main() {
	os.Exit(lvsha(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// lvsha runs a command line and returns the exit code.
func lvsha(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "--help":
		usage(stdout)
		return exitDone
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.call(ctx, args[1:], stdout, stderr)
		}
	}
	if run, ok := hidden()[args[0]]; ok {
		return command{name: args[0], run: run}.call(ctx, args[1:], stdout, stderr)
	}
	fmt.Fprintf(stderr, "lvsha: there is no command %q\n\n", args[0])
	usage(stderr)
	return exitUsage
}

func (c command) call(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("lvsha "+c.name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "usage: lvsha %s %s\n%s\n", c.name, c.args, c.about)
		flags.PrintDefaults()
	}
	// Texts of servers and peers are clean where they come in. Whatever slipped through is
	// not to steer a terminal.
	stderr = plain.Writer(stderr)
	err := c.run(ctx, &call{flags: flags, args: args, stdout: plain.Writer(stdout), stderr: stderr, terminal: stdout})
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errSilent):
		return exitFailed
	default:
		var problems config.Problems
		if errors.As(err, &problems) {
			fmt.Fprintln(stderr, problems)
		} else {
			fmt.Fprintf(stderr, "lvsha %s: %v\n", c.name, err)
		}
		return exitFailed
	}
}

// parse reads the flags; no other words may follow.
func (c *call) parse() error {
	if err := c.parseFlags(c.args); err != nil {
		return err
	}
	if c.flags.NArg() > 0 {
		fmt.Fprintf(c.stderr, "%s takes no argument %q\n", c.flags.Name(), c.flags.Arg(0))
		c.flags.Usage()
		return errUsage
	}
	return nil
}

// parseFlags reads the flags before the first other word.
func (c *call) parseFlags(args []string) error {
	err := c.flags.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return errUsage // the flags have explained it
	}
	return err
}

// socketFlag is -s, which the daemon and all its clients have.
func (c *call) socketFlag() *string {
	return c.flags.String("s", control.DefaultSocket, "the daemon's control `socket`")
}

// fileFlags are -c and --as.
func (c *call) fileFlags() (file, as *string) {
	return c.flags.String("c", config.DefaultFile, "the configuration `file`"),
		c.flags.String("as", "", "the `name` of this director in the file, instead of the host name")
}

// runDir is where a daemon with this socket keeps its record.
func runDir(socket string) string { return filepath.Dir(socket) }

func usage(w io.Writer) {
	fmt.Fprintln(w, "lvsha is the HA director for Linux Virtual Server.\n\nusage: lvsha COMMAND [FLAGS]; lvsha COMMAND -h explains one")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-11s %-41s %s\n", c.name, c.args, c.about)
	}
}
