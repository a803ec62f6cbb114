package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Packages are the Debian packages that a machine needs.
var Packages = []string{"qemu-system-x86", "linux-image-cloud-amd64", "busybox-static", "iproute2", "kmod", "libc-bin"}

// kernelModules are what the lab uses inside the machine.
var kernelModules = []string{
	"veth", "bridge", "dummy", "macvlan", "ipip", "nf_conntrack", "ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc",
	"ip_vs_lblc", "ip_vs_lblcr", "ip_vs_dh", "ip_vs_sh", "ip_vs_sed", "ip_vs_nq", "ip_vs_fo", "ip_vs_ovf", "ip_vs_mh", "ip_vs_pe_sip", "ip_vs_ftp",
	"sctp", "sit", "ip6_tunnel", "ip_gre", "ip6_gre", "fou", "fou6",
	"nf_tables", "nft_ct", "nft_chain_nat", "nft_nat", "af_packet_diag", "nlmon",
}

// Machine is an emulated computer that boots Debian's stock cloud kernel, runs
// one command and is gone.
type Machine struct {
	// Command is what runs inside, as root, with Env added to its environment.
	Command []string
	Env     []string
	// Programs are executables of this host that are there inside, under the
	// same paths with the shared libraries they need.
	Programs []string
	// Files maps paths inside to files of this host.
	Files map[string]string
	// MemoryMB is the size of its memory, 1024 if zero.
	MemoryMB int
}

// Run boots the machine, copies what the command prints to out, and returns
// the command's exit code. Emulation needs no privilege and no KVM. When ctx
// ends the machine is switched off.
func (m *Machine) Run(ctx context.Context, out io.Writer) (int, error) {
	kernel, version, err := findKernel()
	if err != nil {
		return 0, err
	}
	disk, err := m.pack(version)
	if err != nil {
		return 0, err
	}
	defer disk.Close()
	console, consoleIn, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("making the machine's console: %w", err)
	}
	defer console.Close()
	defer consoleIn.Close()
	output, outputIn, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("making the machine's output: %w", err)
	}
	defer output.Close()
	defer outputIn.Close()

	memory := m.MemoryMB
	if memory == 0 {
		memory = 1024
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		// Fast copies of strings are slow ones in an emulator, byte by byte; and what the
		// kernel does against spying processors costs a third of the time.
		"-machine", "pc,accel=tcg", "-cpu", "max,-erms", "-smp", "2", "-m", strconv.Itoa(memory),
		// Of a machine that is short of processors the kernel takes the timer for broken.
		"-kernel", kernel, "-initrd", "/proc/self/fd/3", "-append", "console=ttyS0 quiet no_timer_check mitigations=off panic=-1",
		"-chardev", "file,id=console,path=/proc/self/fd/4", "-serial", "chardev:console",
		"-chardev", "file,id=output,path=/proc/self/fd/5", "-serial", "chardev:output")
	cmd.ExtraFiles = []*os.File{disk, consoleIn, outputIn}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}

	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// The death signal comes when the starting thread ends: keep it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := startFirst(cmd)
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return 0, fmt.Errorf("starting the emulator: %w", err)
	}
	consoleIn.Close()
	outputIn.Close()
	disk.Close()

	var readers sync.WaitGroup
	code, kernelLog := -1, ""
	readers.Go(func() { code, kernelLog = readConsole(console) })
	readers.Go(func() { io.Copy(out, output) })
	readers.Wait()
	err = <-ended
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case code < 0:
		return 0, fmt.Errorf("the machine stopped without a result (%v): %s\nits console:\n%s", err, complaints.String(), kernelLog)
	}
	return code, nil
}

// favour is the nice value of the emulator. Time is measured inside, and what else
// the host does is none of the machine's business.
const favour = -10

// startFirst starts a command ahead of others where that is allowed. The calling
// thread is locked, and its nice value, which the child inherits, stays as it was.
func startFirst(cmd *exec.Cmd) error {
	// The system call answers 20 less the nice value.
	before, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err == nil && unix.Setpriority(unix.PRIO_PROCESS, 0, favour) == nil {
		defer unix.Setpriority(unix.PRIO_PROCESS, 0, 20-before)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	// Where sessions share the processors among themselves (sched_autogroup), the
	// nice value counts within the session only, and the session has one of its own.
	// Who may not do this has a machine that is slower beside other work.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", cmd.Process.Pid), []byte(strconv.Itoa(favour)), 0)
	return nil
}

const exitMark = "lvsha-lab-exit: "

// readConsole finds the exit code that init prints, and keeps the rest.
func readConsole(r io.Reader) (int, string) {
	code := -1
	var log strings.Builder
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if _, value, ok := strings.Cut(line, exitMark); ok {
			if n, err := strconv.Atoi(value); err == nil {
				code = n
			}
			continue
		}
		if log.Len() < 64<<10 {
			log.WriteString(line + "\n")
		}
	}
	return code, log.String()
}

// findKernel returns the newest cloud kernel that is installed.
func findKernel() (path, version string, err error) {
	found, _ := filepath.Glob("/boot/vmlinuz-*-cloud-amd64")
	if len(found) == 0 {
		return "", "", errors.New("no kernel for the machine: apt-get install linux-image-cloud-amd64")
	}
	slices.SortFunc(found, func(a, b string) int {
		return strings.Compare(fileTime(a), fileTime(b))
	})
	path = found[len(found)-1]
	return path, strings.TrimPrefix(filepath.Base(path), "vmlinuz-"), nil
}

func fileTime(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return info.ModTime().UTC().Format("20060102150405")
}

// pack builds the initial RAM disk in memory.
func (m *Machine) pack(version string) (*os.File, error) {
	fd, err := unix.MemfdCreate("initrd", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making the initial RAM disk: %w", err)
	}
	disk := os.NewFile(uintptr(fd), "initrd")
	if err := m.fill(newArchive(disk), version); err != nil {
		disk.Close()
		return nil, err
	}
	return disk, nil
}

func (m *Machine) fill(a *archive, version string) error {
	if err := a.file("/bin/busybox", "/bin/busybox"); err != nil {
		return err
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/root", "/var/lib", "/applets"} {
		if err := a.dir(dir); err != nil {
			return err
		}
	}
	if err := a.link("/bin/sh", "busybox"); err != nil {
		return err
	}
	for path, content := range map[string]string{
		"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
		"/etc/group":  "root:x:0:\nnogroup:x:65534:\n",
		"/etc/hosts":  "127.0.0.1 localhost\n",
	} {
		if err := a.text(path, content, 0o644); err != nil {
			return err
		}
	}
	for _, name := range append([]string{"ip", "bridge", "modprobe"}, m.Programs...) {
		if err := a.program(name); err != nil {
			return err
		}
	}
	for path, src := range m.Files {
		if err := a.file(path, src); err != nil {
			return err
		}
	}
	order, err := a.modules(version, kernelModules)
	if err != nil {
		return err
	}
	if err := a.text("/etc/lab-modules", strings.Join(order, "\n")+"\n", 0o644); err != nil {
		return err
	}
	if err := a.text("/init", initScript(order, m.Env, m.Command), 0o755); err != nil {
		return err
	}
	return a.close()
}

// initScript is the machine's first and only process besides the command.
func initScript(modules, env, command []string) string {
	var s strings.Builder
	s.WriteString(`#!/bin/busybox sh
/bin/busybox --install -s /applets
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/applets HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts && mount -t devpts pts /dev/pts
hostname lab
stty -F /dev/ttyS1 raw -echo
`)
	for _, path := range modules {
		fmt.Fprintf(&s, "insmod %s\n", path)
	}
	s.WriteString("ip link set lo up\n")
	for _, e := range env {
		fmt.Fprintf(&s, "export %s\n", quote(e))
	}
	for i, arg := range command {
		if i > 0 {
			s.WriteByte(' ')
		}
		s.WriteString(quote(arg))
	}
	fmt.Fprintf(&s, ` </dev/null >/dev/ttyS1 2>&1
echo "%s$?" >/dev/ttyS0
sync
poweroff -f
`, exitMark)
	return s.String()
}

// quote makes one word of s for the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
