package ipvs_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/ipvs"
)

// savedRules are what lvsha writes.
const savedRules = `-A -f 5 -s wlc
-a -f 5 -r 192.0.2.21:0 -g -w 1
-A -f 5 -6 -s rr -p 300 -M 64
-a -f 5 -6 -r [2001:db8::21]:0 -g -w 1
-A -t 192.0.2.10:0 -s rr -p 360
-a -t 192.0.2.10:0 -r 10.1.0.21:0 -m -w 1
-A -t 192.0.2.10:80 -s mh -b mh-fallback,mh-port
-a -t 192.0.2.10:80 -r 10.1.0.21:8080 -m -w 3 -x 100 -y 80
-a -t 192.0.2.10:80 -r 192.0.2.21:80 -g -w 0 -x 5
-a -t 192.0.2.10:80 -r 192.0.2.22:80 -i -w 1 --tun-type ipip
-a -t 192.0.2.10:80 -r 192.0.2.23:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum
-a -t 192.0.2.10:80 -r 192.0.2.24:80 -i -w 1 --tun-type gre --tun-csum
-a -t 192.0.2.10:80 -r [2001:db8::25]:80 -i -w 1 --tun-type ipip
-A -u 192.0.2.10:5060 -s rr -p 60 -M 255.255.255.0 --pe sip -o
-a -u 192.0.2.10:5060 -r 192.0.2.21:5060 -g -w 1
-A --sctp-service [2001:db8::10]:80 -s rr
`

// TestRules: what is written is read again, in whatever words ipvsadm takes.
func TestRules(t *testing.T) {
	rules, problems := ipvs.ParseRules(savedRules)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if diff := cmp.Diff(savedRules, ipvs.FormatRules(rules)); diff != "" {
		t.Errorf("written again (-want +got):\n%s", diff)
	}
	for _, c := range []struct{ text, want string }{
		{"-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r 192.0.2.21", "-A -t 192.0.2.10:80 -s wlc\n-a -t 192.0.2.10:80 -r 192.0.2.21:80 -g -w 1\n"},
		{"--add-service --tcp-service=192.0.2.10:80 --scheduler rr --persistent\n--add-server --tcp-service 192.0.2.10:80 --real-server=192.0.2.21 --masquerading --weight=7",
			"-A -t 192.0.2.10:80 -s rr -p 300\n-a -t 192.0.2.10:80 -r 192.0.2.21:80 -m -w 7\n"},
		{"-A -t 192.0.2.10:80 -p -s rr", "-A -t 192.0.2.10:80 -s rr -p 300\n"},
		// As ipvsadm-save writes what ipvsadm -R does not read.
		{"-A -u 192.0.2.10:5060 -s rr -p 60 pe sip ops", "-A -u 192.0.2.10:5060 -s rr -p 60 --pe sip -o\n"},
		// As ipvsadm does: these methods do not change the port.
		{"-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r 192.0.2.21:8080 -g", "-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r 192.0.2.21:80 -g -w 1\n"},
		{"# nothing\n\n  -A -t 192.0.2.10:80 -s rr -b flag-3 # and so on", "-A -t 192.0.2.10:80 -s rr -b flag-3\n"},
		{"-A -t [2001:db8::1]:80 -s rr\n-a -t [2001:db8::1]:80 -r [2001:db8::2] -m", "-A -t [2001:db8::1]:80 -s rr\n-a -t [2001:db8::1]:80 -r [2001:db8::2]:80 -m -w 1\n"},
	} {
		rules, problems := ipvs.ParseRules(c.text)
		if diff := cmp.Diff(c.want, ipvs.FormatRules(rules)); diff != "" || len(problems) > 0 {
			t.Errorf("%s: %v (-want +got):\n%s", c.text, problems, diff)
		}
	}
}

// TestRuleProblems: every line that is wrong, and what would be right.
func TestRuleProblems(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"-C", "1: want a line that begins with -A"},
		{"ipvsadm -A -t 192.0.2.10:80", "1: want a line that begins with -A"},
		{"-A -t web:http -s rr", "1: want ADDRESS:PORT such as"},
		{"-A -s rr", "1: want one service"},
		{"-A -t 192.0.2.10:80 -u 192.0.2.10:80", "1: want one service"},
		{"-A -f 0", "1: want a firewall mark"},
		{"-A -t 192.0.2.10:80 -6", "1: option -6 is for"},
		{"-A -t 192.0.2.10:80 -s nosuch", `1: service 192.0.2.10:80/tcp: scheduler "nosuch" is none of`},
		{"-A -t 192.0.2.10:80 -s rr -b sh-port", "1: scheduler rr has no flags"},
		{"-A -t 192.0.2.10:80 -p 0", "1: option --persistent wants a number from 1 to"},
		{"-A -t 192.0.2.10:80 -p 60 -M 255.0.255.0", "1: want a mask such as"},
		{"-A -t 192.0.2.10:80 -w 1", "1: option --weight is not one of a service"},
		{"-A -t 192.0.2.10:80 -q", `1: there is no option "-q"`},
		{"-A -t 192.0.2.10:80 -s", "1: option -s has no value"},
		{"-A -t 192.0.2.10:80 -s rr -s rr", "1: option -s appears twice"},
		{"-A -t 192.0.2.10:0 -s rr", "1: service 192.0.2.10:0/tcp: port 0 (every port) needs persistence"},
		{"-A -t 192.0.2.10:80\n-A -t 192.0.2.10:80", "2: service 192.0.2.10:80/tcp is on line 1 already"},
		{"-a -t 192.0.2.10:80 -r 192.0.2.21", "1: service 192.0.2.10:80/tcp has no line with -A before"},
		{"-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r 192.0.2.21\n-a -t 192.0.2.10:80 -r 192.0.2.21:80", "3: server 192.0.2.21:80 of 192.0.2.10:80/tcp is on line 2 already"},
		{"-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80", "2: want a server"},
		{"-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r 192.0.2.21 -g -m", "2: want one of -g, -m and -i"},
		{"-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r 192.0.2.21 -w 2147483648", "2: option --weight wants a number from 0 to 2147483647"},
		{"-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r 192.0.2.21 -y 5", "2: service 192.0.2.10:80/tcp: server 192.0.2.21:80: lower threshold 5"},
		{"-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r 192.0.2.21 -m --tun-type gre", "2: option --tun-type is for tunnels"},
		{"-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r 192.0.2.21 -i --tun-type gue", "2: service 192.0.2.10:80/tcp: server 192.0.2.21:80: tunnel: gue needs a port"},
		{"-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r [2001:db8::1] -m", "2: service 192.0.2.10:80/tcp: server [2001:db8::1]:80: nat does not get to"},
	} {
		_, problems := ipvs.ParseRules(c.text)
		if len(problems) != 1 {
			t.Errorf("%q: problems %v, want one", c.text, problems)
			continue
		}
		if got := fmt.Sprintf("%d: %s", problems[0].Line, problems[0].Message); !strings.HasPrefix(got, c.want) {
			t.Errorf("%q: %s, want %s", c.text, got, c.want)
		}
	}
}

// TestRestore: the services of the rules are as the rules have them, others are left,
// and a refusal of the kernel, wherever it comes, leaves all as it was.
func TestRestore(t *testing.T) {
	const before = "-A -t 192.0.2.9:80 -s rr\n-a -t 192.0.2.9:80 -r 192.0.2.21:80 -g -w 1\n" +
		"-A -t 192.0.2.10:80 -s wlc\n-a -t 192.0.2.10:80 -r 192.0.2.29:80 -g -w 5\n-a -t 192.0.2.10:80 -r 192.0.2.21:80 -g -w 5\n"
	parse := func(text string) []ipvs.Rule {
		t.Helper()
		rules, problems := ipvs.ParseRules(text)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return rules
	}
	restored := func(k ipvs.Kernel, text string) (ipvs.Restore, error) {
		t.Helper()
		have, err := ipvs.Rules(k)
		if err != nil {
			t.Fatal(err)
		}
		plan := ipvs.PlanRestore(have, parse(text))
		return plan, plan.Do(k)
	}
	saved := func(k ipvs.Kernel) string {
		t.Helper()
		rules, err := ipvs.Rules(k)
		if err != nil {
			t.Fatal(err)
		}
		return ipvs.FormatRules(rules)
	}
	fresh := func() *ipvs.Memory {
		t.Helper()
		k := ipvs.NewMemory(nil)
		if _, err := restored(k, before); err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := fresh()
	was := saved(k)
	plan, err := restored(k, savedRules)
	if err != nil {
		t.Fatal(err)
	}
	if got := saved(k); !strings.Contains(got, "--pe sip") || !strings.Contains(got, "-A -t 192.0.2.9:80 -s rr\n-a -t 192.0.2.9:80 -r 192.0.2.21:80 -g -w 1\n") ||
		strings.Contains(got, "192.0.2.29") || strings.Count(got, "\n") != strings.Count(savedRules, "\n")+2 {
		t.Errorf("restored:\n%s", got)
	}
	if again, err := restored(k, savedRules); err != nil || len(again.Changes) != 0 || again.Same != 6 {
		t.Errorf("again: %v, %d the same, changes\n%s", err, again.Same, again)
	}
	if plan, err := restored(k, strings.Replace(savedRules, "-p 60", "-p 61", 1)); err != nil || len(plan.Changes) != 1 || !strings.Contains(saved(k), "-p 61 ") || !strings.Contains(saved(k), "--pe sip") {
		t.Errorf("a service with an engine that differs: %v, changes\n%s", err, plan)
	}
	for n := range plan.Changes {
		k := fresh()
		changes := 0
		k.Fail(func(what string) error {
			if what == "list" {
				return nil
			}
			if changes++; changes == n+1 {
				return syscall.ENOMEM
			}
			return nil
		})
		_, err := restored(k, savedRules)
		k.Fail(nil)
		if got := saved(k); !errors.Is(err, syscall.ENOMEM) || got != was {
			t.Errorf("change %d fails: %v\n%s", n, err, cmp.Diff(was, got))
		}
		if errors.Is(err, ipvs.ErrNotUndone) {
			t.Errorf("change %d fails, and all is undone: %v", n, err)
		}
	}
	for n := range plan.Changes {
		// All fails from one change on, undoing too.
		k := fresh()
		changes := 0
		k.Fail(func(what string) error {
			if what == "list" {
				return nil
			}
			if changes++; changes > n {
				return syscall.ENOMEM
			}
			return nil
		})
		_, err := restored(k, savedRules)
		k.Fail(nil)
		if changed := saved(k) != was; err == nil || errors.Is(err, ipvs.ErrNotUndone) != changed {
			t.Errorf("all fails from change %d on: changed %t, %v", n, changed, err)
		}
	}
}

// FuzzParseRules: whatever is read is written and read as the same.
func FuzzParseRules(f *testing.F) {
	f.Add(savedRules)
	f.Add("-A -u 192.0.2.10:5060 -s rr -p 60 pe sip ops\n-a -u 192.0.2.10:5060 -r 192.0.2.21 -i --tun-type=gre")
	f.Fuzz(func(t *testing.T, text string) {
		rules, problems := ipvs.ParseRules(text)
		if len(problems) > 0 {
			return
		}
		written := ipvs.FormatRules(rules)
		again, problems := ipvs.ParseRules(written)
		if len(problems) > 0 || ipvs.FormatRules(again) != written {
			t.Errorf("%q\nwas written\n%s\nand read with problems %v as\n%s", text, written, problems, ipvs.FormatRules(again))
		}
	})
}

// TestRestoreWhatWasSaved: the kernel takes more than the file may say, and all that was
// saved of it is restored.
func TestRestoreWhatWasSaved(t *testing.T) {
	k := ipvs.NewMemory(nil)
	web := with(service("192.0.2.10:80/tcp", "none", "192.0.2.21:80 dr 70000", "192.0.2.22:80 dr 2147483647"), func(s *ipvs.Service) { s.OnePacket = true })
	load(t, k, []ipvs.Service{web})
	rules, err := ipvs.Rules(k)
	must(t, err)
	text := ipvs.FormatRules(rules)
	read, problems := ipvs.ParseRules(text)
	if len(problems) > 0 {
		t.Fatalf("%v in\n%s", problems, text)
	}
	other := ipvs.NewMemory(nil)
	must(t, ipvs.PlanRestore(nil, read).Do(other))
	if diff := cmp.Diff(list(t, k), list(t, other), tables); diff != "" {
		t.Errorf("restored (-saved +restored):\n%s", diff)
	}
}
