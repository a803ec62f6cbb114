package config

import "bytes"

// origin is all that a configuration is made of: a text, who reads it, and what was in
// the files with secrets that the text names.
type origin struct {
	text  string
	as    Identity
	files []secretFile
	cfg   *Config
}

// secretFile is what was found in a file: its content, or why it could not be read.
type secretFile struct {
	name    string
	content []byte
	problem string
}

func readSecretFile(name string) (secretFile, error) {
	content, err := ReadSecret(name)
	f := secretFile{name: name, content: content}
	if err != nil {
		f.problem = err.Error()
	}
	return f, err
}

// parse is Parse that notes what it reads besides the text.
func (r *origin) parse(path string, text []byte) (*Config, error) {
	r.files = nil
	return parseReading(path, text, r.as, func(name string) ([]byte, error) {
		f, err := readSecretFile(name)
		r.files = append(r.files, f)
		return f.content, err
	})
}

// same reports whether a configuration of another origin would be the same. It reads the
// files anew.
func (r *origin) same(now *origin) bool {
	if r.text != now.text || r.as != now.as {
		return false
	}
	for _, was := range r.files {
		is, _ := readSecretFile(was.name) // its error is among what is compared
		if is.problem != was.problem || !bytes.Equal(is.content, was.content) {
			return false
		}
	}
	return true
}
