package checks_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/control"
	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// TestKindsOfServers probes each kind of check's servers of Debian's with the
// program itself, through what can happen to a server:
//
//	lvs     .1 ──┐
//	pages   .2 ──┤                             a web server for the proxy to ask
//	slow    .3 ──┼── segment 10.0.0.0/24       all servers once more, with a delay
//	nginx  .10 ──┤
//	postfix … ───┘
func TestKindsOfServers(t *testing.T) {
	t.Parallel()
	k := newKinds(t)
	k.await("up", func(c *kindCheck, p control.Probe) bool { return p.OK })
	k.delay.Store(int64(30 * time.Second))
	k.await("too slow", func(c *kindCheck, p control.Probe) bool {
		return !c.slow || !p.OK && strings.HasPrefix(p.Reason, "timeout after ")
	})
	k.delay.Store(int64(20 * time.Millisecond))
	k.await("slow, but not too much", func(c *kindCheck, p control.Probe) bool { return !c.slow || p.OK })
	k.signal(syscall.SIGSTOP)
	k.await("hanging", func(c *kindCheck, p control.Probe) bool {
		return c.deaf == p.OK && (p.OK || strings.HasPrefix(p.Reason, "timeout after "))
	})
	k.signal(syscall.SIGCONT)
	k.await("awake again", func(c *kindCheck, p control.Probe) bool { return p.OK })
	k.signal(syscall.SIGKILL)
	k.await("gone", func(c *kindCheck, p control.Probe) bool {
		return c.gone == p.OK && (p.OK || c.slow || strings.Contains(p.Reason, "refused") || strings.Contains(p.Reason, "exit status"))
	})
	k.lie()
	k.await("lying", func(c *kindCheck, p control.Probe) bool {
		// A datagram that is no answer to the question may be anybody's: it is passed over.
		// What comes before TLS is refused whatever it says.
		return c.deaf == p.OK && (p.OK || strings.HasPrefix(p.Reason, "answer is not ") ||
			strings.HasPrefix(p.Reason, "timeout after ") && strings.Contains(p.Reason, ": only answers that are not ") ||
			strings.HasPrefix(c.service, "postgresql-") && strings.Contains(p.Reason, "came before TLS"))
	})
}

// kinds is the rig of the test.
type kinds struct {
	testing.TB
	net     *lab.Network
	segment *lab.Segment
	lvs     *lab.Host
	slow    *lab.Host
	daemon  *lab.Daemon
	started []*startedServer
	checks  map[string]*kindCheck // by the name of the service
	delay   atomic.Int64          // of the host called slow, a time.Duration
	work    sync.WaitGroup
}

type startedServer struct {
	kindServer
	host *lab.Host
	run  *lab.Process
	addr string
}

type kindCheck struct {
	serverCheck
	service string
	address string // of the server
	slow    bool
}

func newKinds(t *testing.T) *kinds {
	k := &kinds{TB: t, checks: make(map[string]*kindCheck)}
	binary, err := rig.Program()
	k.check(err)
	k.net, err = lab.NewNetwork()
	k.check(err)
	var closers []io.Closer
	t.Cleanup(func() {
		k.signal(syscall.SIGKILL)
		for _, c := range closers {
			c.Close()
		}
		k.check(k.net.Close())
		k.work.Wait()
	})
	k.segment, err = k.net.Segment("segment")
	k.check(err)
	k.lvs = k.host("lvs", 1)
	pages := k.host("pages", 2)
	k.slow = k.host("slow", 3)
	key, certificate := labCertificate(t)
	k.check(k.write(k.lvs, map[string]string{keyFile: key, certificateFile: certificate}))
	k.check(pages.Do(func() error {
		l, err := net.Listen("tcp", ":8000")
		if err != nil {
			return err
		}
		closers = append(closers, l)
		k.work.Go(func() {
			http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.URL.Path != "/" {
					http.NotFound(w, req)
					return
				}
				io.WriteString(w, "ok\n")
			})) // ends with the listener
		})
		return nil
	}))
	var file strings.Builder
	port := 1000
	service := func(s *startedServer, c serverCheck, address string, slow bool) {
		kind := strings.Trim(strings.SplitN(c.toml, ",", 2)[0], `"`)
		name := fmt.Sprintf("%s-%d", s.name, port)
		k.checks[name] = &kindCheck{serverCheck: c, service: name + " " + kind, address: address, slow: slow}
		listen := fmt.Sprintf("192.0.2.1:%d/tcp", port)
		fmt.Fprintf(&file, "[service.%s]\nlisten = %q\nforward = \"nat\"\nowner = \"none\"\ncheck = { type = %s, interval = \"1s\", timeout = \"900ms\", rise = 1, fall = 1 }\n[[service.%s.server]]\naddress = %q\n\n",
			name, listen, c.toml, name, address)
		port++
	}
	for i, s := range servers() {
		n := 10 + i
		started := &startedServer{kindServer: s, host: k.host(s.name, n)}
		started.addr = fmt.Sprintf("10.0.0.%d", n)
		k.check(k.write(started.host, map[string]string{keyFile: key, certificateFile: certificate}))
		k.check(k.write(started.host, s.files))
		k.started = append(k.started, started)
		for j, c := range s.checks {
			address := net.JoinHostPort(started.addr, strconv.Itoa(max(c.port, 1)))
			service(started, c, address, false)
			if c.deaf || strings.Contains(c.toml, `path = "/pub`) || strings.Contains(c.toml, "redirects") {
				continue // what a redirect or a file leads to is another port
			}
			at := 10000 + 100*i + j
			k.check(k.forward(at, address, strings.Contains(c.toml, `"radius"`) || c.toml == `"sip"` || strings.Contains(c.toml, `"dns"`) && !strings.Contains(c.toml, "tcp"), &closers))
			service(started, c, net.JoinHostPort("10.0.0.3", strconv.Itoa(at)), true)
		}
	}
	k.check(k.lvs.WriteFile("/run/lvsha.toml", []byte(file.String()), 0o600))
	k.start()
	k.daemon, err = lab.StartDaemon(k.lvs, nil, binary, "-c", "/run/lvsha.toml", "--kernel=memory")
	k.check(err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("lvsha printed:\n%s", k.daemon.Output())
		}
	})
	return k
}

func (k *kinds) check(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

func (k *kinds) host(name string, n int) *lab.Host {
	k.Helper()
	h, err := k.net.Host(name)
	k.check(err)
	_, err = k.segment.Attach(h, "eth0", fmt.Sprintf("10.0.0.%d/24", n))
	k.check(err)
	return h
}

// write writes files on a host, with the directories they are in.
func (k *kinds) write(h *lab.Host, files map[string]string) error {
	for name, text := range files {
		if _, err := h.Run("mkdir", "-p", name[:strings.LastIndex(name, "/")]); err != nil {
			return err
		}
		if err := h.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// start starts all servers at the same time.
func (k *kinds) start() {
	k.Helper()
	errs := make([]error, len(k.started))
	var all sync.WaitGroup
	for i, s := range k.started {
		all.Go(func() {
			if s.prepare != "" {
				if _, err := s.host.Run("bash", "-c", "set -e\n"+s.prepare); err != nil {
					errs[i] = err
					return
				}
			}
			s.run, errs[i] = s.host.Start(nil, "bash", "-c", s.command)
		})
	}
	all.Wait()
	k.check(errors.Join(errs...))
}

// signal sends a signal to each server's processes, children last.
func (k *kinds) signal(sig syscall.Signal) {
	children := make(map[int][]int)
	list, err := os.ReadDir("/proc")
	k.check(err)
	for _, e := range list {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	var send func(pid int)
	send = func(pid int) {
		syscall.Kill(pid, sig) // fails on one that has ended
		for _, c := range children[pid] {
			send(c)
		}
	}
	for _, s := range k.started {
		if s.run == nil {
			continue
		}
		select {
		case <-s.run.Done(): // its number may be another's by now
		default:
			send(s.run.PID())
		}
	}
}

// await waits until the last probe of each check, begun in this phase, is as
// wanted.
func (k *kinds) await(phase string, holds func(*kindCheck, control.Probe) bool) {
	k.Helper()
	began := time.Now()
	done := make(map[string]string)
	_, err := lab.Eventually(phase, 90*time.Second, func() bool {
		select {
		case <-k.daemon.Done():
			k.Fatal("lvsha has ended")
		default:
		}
		status, err := k.daemon.Status()
		if err != nil {
			return false
		}
		for _, s := range status.Services {
			c := k.checks[s.Name]
			if c == nil || done[s.Name] != "" || len(s.Servers) == 0 || len(s.Servers[0].Checks) == 0 {
				continue
			}
			if last := s.Servers[0].Checks[0].Last; last != nil && last.Time.After(began) && holds(c, *last) {
				done[s.Name] = last.Reason
			}
		}
		return len(done) == len(k.checks)
	})
	took := time.Since(began).Round(100 * time.Millisecond)
	if err == nil {
		k.Logf("%s: %d checks after %v", phase, len(done), took)
		for name, reason := range done {
			k.Logf("  %-28s %s", k.checks[name].service, reason)
		}
		return
	}
	status, _ := k.daemon.Status()
	for _, s := range status.Services {
		c := k.checks[s.Name]
		if c == nil || done[s.Name] != "" || len(s.Servers) == 0 || len(s.Servers[0].Checks) == 0 || s.Servers[0].Checks[0].Last == nil {
			continue
		}
		k.Errorf("%s: %s at %s: %+v", phase, c.service, c.address, *s.Servers[0].Checks[0].Last)
		for _, started := range k.started {
			if strings.HasPrefix(s.Name, started.name+"-") {
				k.Logf("%s printed:\n%s", started.name, started.run.Output())
			}
		}
	}
	k.Fatal(err)
}

// forward lets the slow host stand for a server, with a delay of its answers.
func (k *kinds) forward(port int, to string, udp bool, closers *[]io.Closer) error {
	dial := func(network string) (conn net.Conn, err error) {
		err = k.slow.Do(func() error {
			conn, err = net.DialTimeout(network, to, 2*time.Second)
			return err
		})
		return conn, err
	}
	wait := func() bool {
		for began := time.Now(); time.Since(began) < time.Duration(k.delay.Load()); {
			<-time.After(10 * time.Millisecond)
		}
		return true
	}
	return k.slow.Do(func() error {
		if udp {
			l, err := net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
			if err != nil {
				return err
			}
			*closers = append(*closers, l)
			k.work.Go(func() {
				for buf := make([]byte, 4096); ; {
					n, from, err := l.ReadFrom(buf)
					if err != nil {
						return
					}
					asked := append([]byte(nil), buf[:n]...)
					k.work.Go(func() {
						out, err := dial("udp")
						if err != nil {
							return
						}
						defer out.Close()
						out.SetDeadline(time.Now().Add(2 * time.Second))
						out.Write(asked)
						answer := make([]byte, 4096)
						if n, err := out.Read(answer); err == nil && wait() {
							l.WriteTo(answer[:n], from)
						}
					})
				}
			})
			return nil
		}
		l, err := net.Listen("tcp4", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		*closers = append(*closers, l)
		k.work.Go(func() {
			for {
				in, err := l.Accept()
				if err != nil {
					return
				}
				k.work.Go(func() {
					defer in.Close()
					out, err := dial("tcp")
					if err != nil {
						return
					}
					defer out.Close()
					in.SetDeadline(time.Now().Add(5 * time.Second))
					out.SetDeadline(time.Now().Add(5 * time.Second))
					k.work.Go(func() {
						io.Copy(out, in)
						out.Close()
					})
					for buf := make([]byte, 32<<10); ; {
						n, err := out.Read(buf)
						if n > 0 && wait() {
							in.Write(buf[:n])
						}
						if err != nil {
							return
						}
					}
				})
			}
		})
		return nil
	})
}

// lie lets each server's ports be served by something else.
func (k *kinds) lie() {
	k.Helper()
	const banner = "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
	for _, s := range k.started {
		ports := make(map[int]bool)
		for _, c := range s.checks {
			ports[c.port] = c.port != 0
		}
		for port, ok := range ports {
			if !ok {
				continue
			}
			k.check(s.host.Do(func() error {
				l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
				if err != nil {
					return err
				}
				k.Cleanup(func() { l.Close() })
				k.work.Go(func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						k.work.Go(func() {
							defer c.Close()
							c.SetDeadline(time.Now().Add(5 * time.Second))
							io.WriteString(c, banner)
							io.Copy(io.Discard, c)
						})
					}
				})
				p, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
				if err != nil {
					return err
				}
				k.Cleanup(func() { p.Close() })
				k.work.Go(func() {
					for buf := make([]byte, 4096); ; {
						_, from, err := p.ReadFrom(buf)
						if err != nil {
							return
						}
						p.WriteTo([]byte(banner), from)
					}
				})
				return nil
			}))
		}
	}
}

// labCertificate is a key with a self-signed certificate for the whole lab.
func labCertificate(t *testing.T) (keyText, certificate string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	for n := 1; n < 64; n++ {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(fmt.Sprintf("10.0.0.%d", n)))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
