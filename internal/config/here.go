package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"lvsha/healthcheck"
)

// What a file names of this machine, and what is not there now, may come before it is
// needed: a package is installed later, or a certificate renewed. So it is advice, for the
// director that the file is read for alone.

// here advises about a value what look finds, which looks for one thing once.
func (r *report) here(n *node, what string, look func() string) {
	if !r.looks || n == nil {
		return
	}
	text, seen := r.found[what]
	if !seen {
		text = look()
		if r.found == nil {
			r.found = make(map[string]string)
		}
		r.found[what] = text
	}
	if text != "" {
		r.advise(n, "%s", text)
	}
}

// asksHere looks for what a check needs of this machine.
func (s section) asksHere(q healthcheck.Question) {
	if !s.looks {
		return
	}
	switch q := q.(type) {
	case healthcheck.Exec:
		if argv := q.Command.Items(); len(argv) > 0 {
			s.programHere(s.item("command"), argv[0])
		}
		s.userHere("user", q.User)
	case healthcheck.File:
		s.here(s.keys["file"], "number "+q.File, func() string {
			if info, err := os.Stat(q.File); err == nil && !info.Mode().IsRegular() {
				return q.File + " is no file with a number now, and nothing is learned from it"
			}
			return "" // none is the number 0
		})
	}
	s.certificatesHere()
}

// item is the first item of a list.
func (s section) item(key string) *node {
	if items := s.list(key); len(items) > 0 {
		return items[0]
	}
	return s.keys[key]
}

// programHere looks for a program, unless its path depends on the server.
func (r *report) programHere(n *node, path string) {
	if strings.Contains(path, "{") {
		return
	}
	r.here(n, "program "+path, func() string {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return cannot("run the program", path, err)
		case !info.Mode().IsRegular():
			return fmt.Sprintf("this machine cannot run the program %s now: it is no file", path)
		case info.Mode().Perm()&0o111 == 0:
			return fmt.Sprintf("this machine cannot run the program %s now: it is not executable; do: chmod +x %[1]s", path)
		}
		return ""
	})
}

// userHere looks for a user.
func (s section) userHere(key, name string) {
	if name == "" {
		return
	}
	s.here(s.keys[key], "user "+name, func() string {
		var unknown user.UnknownUserError
		if _, err := user.Lookup(name); errors.As(err, &unknown) {
			return fmt.Sprintf("this machine has no user %q now, and nothing can be run as it", name)
		}
		return ""
	})
}

// directoryHere looks for the directory of a file that is to be made.
func (s section) directoryHere(key, path string) {
	dir := filepath.Dir(path)
	s.here(s.keys[key], "directory "+dir, func() string {
		info, err := os.Stat(dir)
		switch {
		case err != nil:
			return cannot("make anything in", dir, err)
		case !info.IsDir():
			return dir + " is no directory now"
		}
		return ""
	})
}

// certificatesHere looks for the certificates that a check needs.
func (s section) certificatesHere() {
	name := func(key string) string {
		n := s.keys[key]
		if n == nil {
			return ""
		}
		text, _ := n.value.(string)
		return text
	}
	if ca := name("ca"); ca != "" {
		s.here(s.keys["ca"], "ca "+ca, func() string {
			text, err := regularFile(ca)
			if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
				err = errors.New("there is no certificate in it")
			}
			if err != nil {
				return cannot("trust", ca, err)
			}
			return ""
		})
	}
	cert, key := name("client_cert"), name("client_key")
	if cert == "" || key == "" {
		return
	}
	s.here(s.keys["client_cert"], "client_cert "+cert+" "+key, func() string {
		public, err := regularFile(cert)
		if err != nil {
			return cannot("show the certificate", cert, err)
		}
		private, err := regularFile(key)
		if err != nil {
			return cannot("use the key", key, err)
		}
		if _, err := tls.X509KeyPair(public, private); err != nil {
			return fmt.Sprintf("this machine cannot show the certificate %s with the key %s now: %v", cert, key, strings.TrimPrefix(err.Error(), "tls: "))
		}
		return ""
	})
}

// cannot words what this machine cannot do now, and why.
func cannot(what, path string, err error) string {
	why := reasonOf(err)
	if errors.Is(err, fs.ErrNotExist) {
		why = errors.New("it is not there")
	}
	return fmt.Sprintf("this machine cannot %s %s now: %v", what, path, why)
}

// regularFile reads a file, and nothing that would keep it waiting.
func regularFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	return readBounded(path)
}
