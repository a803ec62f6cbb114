package track

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// fileLimit is more than a number needs.
const fileLimit = 64

// seeFile reads the number at the beginning of a file. Without a weight any number
// but 0 is a condition that does not hold, which makes the file a maintenance
// switch.
func seeFile(c Condition) Report {
	n, err := readNumber(c.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Report{Holds: true, Reason: c.File + " is missing, which counts as 0"}
	case err != nil:
		return Report{Reason: err.Error()}
	}
	return Report{Holds: n == 0, Value: n, Reason: fmt.Sprintf("%s says %d", c.File, n)}
}

// readNumber reads an integer; a file that is empty has 0.
func readNumber(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("reading the number: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fileLimit))
	if err != nil {
		return 0, fmt.Errorf("reading the number: %w", err)
	}
	word, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if word == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(word))
	if err != nil {
		return 0, fmt.Errorf("%s holds %q, want an integer", path, word)
	}
	return n, nil
}
