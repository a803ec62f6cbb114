package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// File reads a number in a file of this machine: keepalived's FILE_CHECK, which
// operators use to drain servers. A file that is missing or empty holds 0.
type File struct {
	// File is its path. {server} and {port} in it stand for the server's.
	File string `key:"file" required:"the file that holds a number, such as \"/etc/lvsha/drain/{server}\""`
	// Factor is what the number is multiplied with before it is added to the weight;
	// a product of -254 or less is a failure. With 0 any number but 0 is a failure.
	Factor int `key:"factor" range:"-253,253"`
	// Dynamic makes the number the weight.
	Dynamic bool `key:"dynamic"`
}

var (
	_ Question  = File{}
	_ Validator = File{}
)

// failureSum is what a weighted number fails at, as in keepalived.
const failureSum = -254

// Kind is "file".
func (File) Kind() string { return "file" }

// String is the path.
func (q File) String() string { return q.File }

// Validate is part of Validator.
func (q File) Validate() (out []Problem) {
	if !strings.HasPrefix(q.File, "/") {
		out = append(out, Problem{Key: "file", Message: fmt.Sprintf("want an absolute path, got %q", q.File)})
	} else if strings.HasSuffix(q.File, "/") {
		out = append(out, Problem{Key: "file", Message: fmt.Sprintf("want a file, got the directory %q", q.File)})
	}
	if q.Dynamic && q.Factor != 0 {
		out = append(out, Problem{Key: "dynamic", Message: "makes the number the weight, and factor adds to it; leave one of them out"})
	}
	return out
}

// Prepare is part of Question.
func (q File) Prepare() (ProbeFunc, error) { return q.probe, nil }

func (q File) probe(_ context.Context, t Target) (Answer, error) {
	n, _, err := ReadNumber(t.fill(q.File))
	if err != nil {
		// Whoever writes it is not done, or wrote something else.
		return Answer{}, fmt.Errorf("%w: %w", ErrInconclusive, err)
	}
	detail := fmt.Sprintf("%d in the file", n)
	switch {
	case q.Dynamic && n < 0:
		return Answer{}, errors.New(detail + ", want 0 or more")
	case q.Dynamic:
		return Answer{Detail: detail, Advice: Advice{Unit: Absolute, Weight: n}}, nil
	case q.Factor != 0 && n*q.Factor <= failureSum:
		return Answer{}, fmt.Errorf("%s, times %d", detail, q.Factor)
	case q.Factor != 0 && n != 0:
		return Answer{Detail: detail, Advice: Advice{Unit: Added, Weight: n * q.Factor}}, nil
	case q.Factor == 0 && n != 0:
		return Answer{}, errors.New(detail + ", want 0")
	}
	return Answer{Detail: detail}, nil
}

// ReadNumber reads the integer that a file begins with; 0 when there is nothing in it,
// or no file, which is what there says.
func ReadNumber(path string) (n int, there bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	if !info.Mode().IsRegular() {
		return 0, true, fmt.Errorf("%s is no file", path) // reading a pipe would block
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, true, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, numberLimit))
	if err != nil {
		return 0, true, err
	}
	words := strings.Fields(string(text))
	if len(words) == 0 {
		return 0, true, nil
	}
	number, err := strconv.ParseInt(words[0], 10, 32)
	if err != nil {
		return 0, true, fmt.Errorf("%s holds %q, want an integer", path, printable(words[0]))
	}
	return int(number), true, nil
}

// numberLimit is more than a number needs.
const numberLimit = 64
