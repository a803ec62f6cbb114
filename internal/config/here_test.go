package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/config"
)

// TestAdviceAboutThisMachine: what is not there now is advice, for the director that the
// file is read for alone, and no reason to refuse the file.
func TestAdviceAboutThisMachine(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, plain, nothing := write("good", "#!/bin/sh\n", 0o700), write("plain", "#!/bin/sh\n", 0o600), write("nothing.pem", "\n", 0o600)
	head := "[director.lvs1]\n[director.lvs2]\n[service.web]\nlisten = \"192.0.2.1:80/tcp\"\nowner = \"none\"\nforward = \"nat\"\n[[service.web.server]]\naddress = \"192.0.2.21\"\n"
	exec := func(command, more string) string {
		return fmt.Sprintf("[[service.web.check]]\ntype = \"exec\"\ncommand = [%q]\n%s", command, more)
	}
	ca := func(path string) string {
		return fmt.Sprintf("[[service.web.check]]\ntype = \"https\"\nca = %q\n", path)
	}
	for name, c := range map[string]struct{ text, want string }{
		"a program":                 {exec(good, "user = \"root\"\n"), ""},
		"no program":                {exec(dir+"/none", ""), "this machine cannot run the program DIR/none now: it is not there"},
		"a directory":               {exec(dir, ""), "this machine cannot run the program DIR now: it is no file"},
		"not executable":            {exec(plain, ""), "this machine cannot run the program DIR/plain now: it is not executable; do: chmod +x DIR/plain"},
		"one for each server":       {exec(dir+"/{server}", ""), ""},
		"no user":                   {exec(good, "user = \"no-such-user\"\n"), `this machine has no user "no-such-user" now, and nothing can be run as it`},
		"no ca":                     {ca(dir + "/ca.pem"), "this machine cannot trust DIR/ca.pem now: it is not there"},
		"an empty ca":               {ca(nothing), "this machine cannot trust DIR/nothing.pem now: there is no certificate in it"},
		"a ca that is a directory":  {ca(dir), "this machine cannot trust DIR now: it is no regular file"},
		"a number in a directory":   {fmt.Sprintf("[[service.web.check]]\ntype = \"file\"\nfile = %q\n", dir), "DIR is no file with a number now, and nothing is learned from it"},
		"no file with a number":     {fmt.Sprintf("[[service.web.check]]\ntype = \"file\"\nfile = \"%s/n\"\n", dir), ""},
		"a certificate":             {fmt.Sprintf("[[service.web.check]]\ntype = \"https\"\nclient_cert = %q\nclient_key = \"%s/key\"\n", nothing, dir), "this machine cannot use the key DIR/key now: it is not there"},
		"a program to notify":       {fmt.Sprintf("[notify]\ncommand = \"%s/tell\"\n", dir), "this machine cannot run the program DIR/tell now: it is not there"},
		"a program of one service":  {fmt.Sprintf("[service.web.notify]\nup = \"%s/tell\"\n", dir), "this machine cannot run the program DIR/tell now: it is not there"},
		"a user to notify":          {"[notify]\nuser = \"no-such-user\"\n", `this machine has no user "no-such-user" now, and nothing can be run as it`},
		"a directory of a fifo":     {fmt.Sprintf("[notify]\nfifo = \"%s/run/fifo\"\n", dir), "this machine cannot make anything in DIR/run now: it is not there"},
		"another director's":        {fmt.Sprintf("[director.lvs2.notify]\ncommand = \"%s/tell\"\n", dir), ""},
		"two checks, one of a kind": {exec(dir+"/none", "") + exec(good, ""), "this machine cannot run the program DIR/none now: it is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write("lvsha.toml", head+c.text, 0o600)
			_, advice, err := config.Check(path, "lvs1")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range advice {
				if p.Line == 0 || p.Key == "" {
					t.Errorf("without a place: %v", p)
				}
				got = append(got, strings.ReplaceAll(p.Message, dir, "DIR"))
			}
			if diff := cmp.Diff(c.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("advice (-want +got):\n%s", diff)
			}
			if _, err := config.Load(path, "lvs1"); err != nil {
				t.Errorf("the daemon refuses it: %v", err)
			}
		})
	}
}

// TestBlankSecrets: a file without a secret is told, and not tried at the servers.
func TestBlankSecrets(t *testing.T) {
	blank := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(blank, []byte("  \n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const service = "[service.web]\nlisten = \"192.0.2.1:80/tcp\"\nowner = \"none\"\nforward = \"nat\"\n[[service.web.server]]\naddress = \"192.0.2.21\"\n[[service.web.check]]\n"
	const router = "[vrrp.web]\ninterface = \"eth0\"\nvrid = 1\naddresses = [\"192.0.2.10/24\"]\n"
	for text, want := range map[string]string{
		service + "type = \"radius\"\nsecret_file = %q\n":                "secret_file: FILE is empty",
		service + "type = \"imaps\"\nuser = \"u\"\npassword_file = %q\n": "password_file: FILE is empty",
		router + "version = 2\n[vrrp.web.auth]\npassword_file = %q\n":    "password_file: the password is empty",
		router + "[vrrp.web.auth]\nkeys = [{ id = 1, file = %q }]\n":     "file: FILE: is blank",
	} {
		_, err := config.Parse("lvsha.toml", fmt.Appendf(nil, text, blank), config.Identity{})
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), blank, "FILE"), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
