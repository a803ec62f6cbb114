package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// TestLogWriter: every line is written in order; one who logs does not wait
// for a reader, and what was lost is said.
func TestLogWriter(t *testing.T) {
	var out bytes.Buffer
	l := newLogWriter(&out)
	for i := range 100 {
		fmt.Fprintln(l, i)
	}
	l.Close()
	if got := out.String(); strings.Count(got, "\n") != 100 || !strings.HasSuffix(got, "\n98\n99\n") {
		t.Errorf("wrote %q", got)
	}

	r, w := io.Pipe()
	l = newLogWriter(w)
	for i := range 2 * logBacklog {
		fmt.Fprintln(l, i)
	}
	read := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		read <- string(b)
	}()
	<-func() chan struct{} { l.Close(); return l.done }()
	w.Close()
	if got := <-read; !strings.Contains(got, "were lost") || !strings.Contains(got, "\n100\n") {
		t.Errorf("wrote %q", got)
	}
}
