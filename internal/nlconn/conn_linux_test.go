package nlconn_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/internal/nlconn"
)

// inNamespace runs f on a thread with a network namespace of its own, where the
// loopback interface is up.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	var thread sync.WaitGroup
	thread.Go(func() {
		runtime.LockOSThread() // and never unlock: the namespace ends with the thread
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error("needs root:", err)
			return
		}
		c := dial(t, unix.NETLINK_ROUTE)
		defer c.Close()
		up := make([]byte, unix.SizeofIfInfomsg)
		binary.NativeEndian.PutUint32(up[4:], 1)
		binary.NativeEndian.PutUint32(up[8:], unix.IFF_UP)
		binary.NativeEndian.PutUint32(up[12:], unix.IFF_UP)
		if _, err := c.Execute(netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWLINK, Flags: netlink.Request | netlink.Acknowledge}, Data: up}); err != nil {
			t.Error(err)
			return
		}
		f()
	})
	thread.Wait()
}

func dial(t *testing.T, family int) *nlconn.Conn {
	t.Helper()
	c, err := nlconn.Dial(family, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// change adds or removes addresses on the loopback interface.
func change(c *nlconn.Conn, message netlink.HeaderType, scope byte, addresses []netip.Addr) error {
	for _, a := range addresses {
		family := byte(unix.AF_INET)
		if a.Is6() {
			family = unix.AF_INET6
		}
		data, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.IFA_LOCAL, Data: a.AsSlice()}})
		if err != nil {
			return err
		}
		head := binary.NativeEndian.AppendUint32([]byte{family, byte(a.BitLen()), unix.IFA_F_NODAD, scope}, 1)
		_, err = c.Execute(netlink.Message{
			Header: netlink.Header{Type: message, Flags: netlink.Request | netlink.Acknowledge}, Data: append(head, data...),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// many are so many addresses from the first one on.
func many(first string, n int) (out []netip.Addr) {
	for a := netip.MustParseAddr(first); len(out) < n; a = a.Next() {
		out = append(out, a)
	}
	return out
}

// TestDumpWhole: a list without an error has what was there all the time, though the
// addresses before it come and go, and the others are told of as interrupted.
//
// It is nearly so. This kernel counts a change of IPv6 addresses after it has made it,
// and a list that is told in between lacks one and does not say so: whoever believes
// nothing bad asks for each thing alone.
func TestDumpWhole(t *testing.T) {
	for _, c := range []struct {
		name         string
		family       byte
		stay, others string
		mostly       bool
	}{
		{"IPv4", unix.AF_INET, "10.1.0.1", "10.2.0.1", false},
		{"IPv6", unix.AF_INET6, "2001:db8::1", "2001:db8:1::1", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inNamespace(t, func() {
				writer, reader := dial(t, unix.NETLINK_ROUTE), dial(t, unix.NETLINK_ROUTE)
				defer writer.Close()
				defer reader.Close()
				// Those that stay come last: of IPv6 because new ones go to the head of the
				// list, of IPv4 because their scope is narrower.
				stay, others := many(c.stay, 1500), many(c.others, 200)
				if err := change(writer, unix.RTM_NEWADDR, unix.RT_SCOPE_HOST, stay); err != nil {
					t.Error(err)
					return
				}
				stop, ended := make(chan struct{}), make(chan error, 1)
				go func() {
					for {
						for _, message := range []netlink.HeaderType{unix.RTM_NEWADDR, unix.RTM_DELADDR} {
							if err := change(writer, message, unix.RT_SCOPE_UNIVERSE, others); err != nil {
								ended <- err
								return
							}
						}
						select {
						case <-stop:
							ended <- nil
							return
						default:
						}
					}
				}()
				question := netlink.Message{Header: netlink.Header{Type: unix.RTM_GETADDR}, Data: []byte{c.family, 0, 0, 0, 0, 0, 0, 0}}
				whole, lacking, interrupted := 0, 0, 0
				for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
					for _, ask := range []func(netlink.Message) ([]netlink.Message, error){reader.Dump, reader.Glance} {
						messages, err := ask(question)
						there := make(map[netip.Addr]bool, len(messages))
						for _, m := range messages {
							// A struct ifaddrmsg, and IFA_ADDRESS first.
							a, _ := netip.AddrFromSlice(m.Data[12 : 12+len(stay[0].AsSlice())])
							there[a] = true
						}
						missing := slices.ContainsFunc(stay, func(a netip.Addr) bool { return !there[a] })
						switch {
						case errors.Is(err, nlconn.ErrInterrupted):
							interrupted++
						case err != nil:
							t.Error(err)
						case missing:
							lacking++
						default:
							whole++
						}
					}
				}
				close(stop)
				if err := <-ended; err != nil {
					t.Error(err)
				}
				t.Logf("%d lists were whole, %d lacked something and did not say so, %d were interrupted", whole, lacking, interrupted)
				if lacking > 0 && !c.mostly || lacking > whole {
					t.Errorf("%d lists lacked something and did not say so, %d were whole", lacking, whole)
				}
				if whole+interrupted < 20 || interrupted == 0 {
					t.Error("too few to say anything")
				}
			})
		})
	}
}

// TestDumpGrows: what the kernel tells of one object may have no room in the
// buffer, which then grows.
func TestDumpGrows(t *testing.T) {
	inNamespace(t, func() {
		c := dial(t, unix.NETLINK_ROUTE)
		defer c.Close()
		if err := change(c, unix.RTM_NEWADDR, unix.RT_SCOPE_UNIVERSE, many("10.0.0.1", 300)); err != nil {
			t.Error(err)
			return
		}
		nlconn.Shrink(c, 700)
		messages, err := c.Dump(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETADDR}, Data: []byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, 0}})
		if err != nil || len(messages) != 301 {
			t.Errorf("%d addresses, %v", len(messages), err)
		}
	})
}

// TestDumpGrowsAtTheEnd: the message that ends a list may be in the datagram that the
// buffer has no room for, as this kernel puts it behind the last rule.
func TestDumpGrowsAtTheEnd(t *testing.T) {
	inNamespace(t, func() {
		c := dial(t, unix.NETLINK_ROUTE)
		defer c.Close()
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Error(err)
		}
		nlconn.Shrink(c, 64)
		rules := append([]byte{unix.AF_INET}, make([]byte, 11)...) // a struct fib_rule_hdr
		messages, err := c.Dump(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETRULE}, Data: rules})
		if err != nil || len(messages) != 3 {
			t.Errorf("%d rules, %v", len(messages), err)
		}
	})
}

// TestDumpErrors: the kernel's own word comes through, and the connection goes on.
func TestDumpErrors(t *testing.T) {
	inNamespace(t, func() {
		c, err := nlconn.Dial(unix.NETLINK_ROUTE, &netlink.Config{Strict: true})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		nowhere := netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETADDR},
			Data:   binary.NativeEndian.AppendUint32([]byte{unix.AF_INET, 0, 0, 0}, 4711),
		}
		for range 2 {
			if _, err := c.Dump(nowhere); !errors.Is(err, unix.ENODEV) {
				t.Errorf("of no interface: %v", err)
			}
			nowhere.Header.Type = unix.RTM_GETLINK
			nowhere.Data = make([]byte, unix.SizeofIfInfomsg)
			if messages, err := c.Dump(nowhere); err != nil || len(messages) == 0 {
				t.Errorf("%d interfaces, %v", len(messages), err)
			}
			nowhere.Header.Type = unix.RTM_GETADDR
			nowhere.Data = binary.NativeEndian.AppendUint32([]byte{unix.AF_INET, 0, 0, 0}, 4711)
		}
		if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Error(err)
		}
		if _, err := c.Dump(nowhere); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the deadline: %v", err)
		}
	})
}

// TestExecuteAfterOneGivenUp: the answers to questions that were given up are not taken
// for that to the next one, whether they are errors, things or acknowledgements.
func TestExecuteAfterOneGivenUp(t *testing.T) {
	inNamespace(t, func() {
		c := dial(t, unix.NETLINK_ROUTE)
		defer c.Close()
		link := func(index uint32, flags netlink.HeaderFlags) netlink.Message {
			data := make([]byte, unix.SizeofIfInfomsg)
			binary.NativeEndian.PutUint32(data[4:], index)
			return netlink.Message{Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request | flags}, Data: data}
		}
		for range 3 {
			for _, given := range []netlink.Message{link(4711, 0), link(1, 0), link(1, netlink.Acknowledge)} {
				if _, err := c.Send(given); err != nil {
					t.Error(err)
					return
				}
			}
			if answers, err := c.Execute(link(1, 0)); err != nil || len(answers) != 1 || answers[0].Header.Type != unix.RTM_NEWLINK {
				t.Errorf("the interface that is there: %v, %v", answers, err)
			}
			if _, err := c.Execute(link(4712, 0)); !errors.Is(err, unix.ENODEV) {
				t.Errorf("an interface that is not there: %v", err)
			}
		}
	})
}

// TestGenericAfterOneGivenUp: the answer to a question that was given up says nothing of
// whether the family is still there.
func TestGenericAfterOneGivenUp(t *testing.T) {
	g, err := nlconn.DialGeneric("nlctrl")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.Family.ID != unix.GENL_ID_CTRL || g.Family.Name != "nlctrl" {
		t.Errorf("the family is %+v", g.Family)
	}
	missing, err := genetlink.Message{Header: genetlink.Header{Command: unix.CTRL_CMD_GETFAMILY, Version: 1}}.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		given := netlink.Message{Header: netlink.Header{Type: unix.GENL_ID_CTRL, Flags: netlink.Request | netlink.Acknowledge}, Data: missing}
		if _, err := g.Conn().Send(given); err != nil {
			t.Fatal(err)
		}
		if gone, err := g.Gone(); gone || err != nil {
			t.Errorf("a family that is there is gone: %v, %v", gone, err)
		}
	}
}

// TestGeneric lists the families of generic netlink.
func TestGeneric(t *testing.T) {
	if _, err := nlconn.DialGeneric("no such family"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such family: %v", err)
	}
	g, err := nlconn.DialGeneric("nlctrl")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	const getFamily = 3 // CTRL_CMD_GETFAMILY
	families, err := g.Dump(genetlink.Message{Header: genetlink.Header{Command: getFamily, Version: 1}})
	if err != nil || len(families) == 0 {
		t.Errorf("%d families, %v", len(families), err)
	}
}

// TestRulesetSteady: what is read while the ruleset changes is read again.
func TestRulesetSteady(t *testing.T) {
	inNamespace(t, func() {
		r, err := nlconn.DialRuleset()
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		before, err := r.Generation()
		if err != nil {
			t.Error(err)
			return
		}
		readings := 0
		broken := errors.New("broken")
		after, err := r.Steady(func() error {
			readings++
			if readings == 3 {
				return nil
			}
			if err := touch(r); err != nil {
				t.Error(err)
			}
			return broken // by what was changed meanwhile
		})
		if err != nil || readings != 3 || after == before {
			t.Errorf("%d readings, generation %d after %d, %v", readings, after, before, err)
		}
		if _, err := r.Steady(func() error { return broken }); !errors.Is(err, broken) {
			t.Errorf("a reading that failed: %v", err)
		}
		if _, err := r.Steady(func() error { return touch(r) }); !errors.Is(err, nlconn.ErrInterrupted) {
			t.Errorf("a ruleset that always changes: %v", err)
		}
	})
}

// touch changes the ruleset: it adds a table named for the ruleset's number.
func touch(r nlconn.Ruleset) error {
	n, err := r.Generation()
	if err != nil {
		return err
	}
	name, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_TABLE_NAME, Data: fmt.Appendf(nil, "t%d\x00", n)}})
	if err != nil {
		return err
	}
	message := func(kind netlink.HeaderType, flags netlink.HeaderFlags, family byte, resource byte, data []byte) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: kind, Flags: netlink.Request | flags},
			Data:   append([]byte{family, unix.NFNETLINK_V0, 0, resource}, data...),
		}
	}
	c, err := nlconn.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.SendMessages([]netlink.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
		message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE, netlink.Create|netlink.Acknowledge, unix.NFPROTO_IPV4, 0, name),
		message(unix.NFNL_MSG_BATCH_END, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
	})
	if err != nil {
		return err
	}
	_, err = c.Receive()
	return err
}

// TestNobodyElseLists: lists are asked for in one place, which reads them again when
// they were interrupted. Package net looks for an interface in a list too, and the
// libraries for rtnetlink and IPVS keep the flag to themselves.
func TestNobodyElseLists(t *testing.T) {
	lists := regexp.MustCompile(`netlink\.Dump\b|net\.Interface(s|ByName|ByIndex|Addrs)\(|NetlinkRIB\(|rtnetlink\.Dial|\.c\.(Services|Destinations)\(`)
	seen := 0
	err := filepath.WalkDir("../..", func(name string, d fs.DirEntry, err error) error {
		// The lab and the rig are for tests.
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "/lab/") || strings.Contains(name, "/e2e/") {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		seen++
		for i, line := range strings.Split(string(text), "\n") {
			if lists.MatchString(line) && !strings.HasPrefix(name, "../../internal/nlconn/") {
				t.Errorf("%s:%d asks for a list: %s", name, i+1, strings.TrimSpace(line))
			}
		}
		return nil
	})
	if err != nil || seen < 100 {
		t.Errorf("%d files, %v", seen, err)
	}
}
