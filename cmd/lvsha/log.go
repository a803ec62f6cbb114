package main

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"lvsha/internal/plain"
)

// The limits of a logWriter: how many lines wait for a reader, and how long
// the end of the process waits for them to be read.
const (
	logBacklog = 1024
	logFlush   = 200 * time.Millisecond
)

// logWriter keeps whoever logs from waiting for whoever reads: a journal that
// hangs must not stop a director. What does not fit is lost and counted.
type logWriter struct {
	lines chan []byte
	lost  atomic.Uint64
	quit  chan struct{} // closed by Close
	done  chan struct{} // closed when all lines before Close are written
}

// newLogWriter starts the goroutine that writes; Close ends it.
func newLogWriter(w io.Writer) *logWriter {
	l := &logWriter{lines: make(chan []byte, logBacklog), quit: make(chan struct{}), done: make(chan struct{})}
	go l.run(w)
	return l
}

func (l *logWriter) run(w io.Writer) {
	defer close(l.done)
	for {
		var line []byte
		select {
		case line = <-l.lines:
		default:
			select {
			case line = <-l.lines:
			case <-l.quit:
				select {
				case line = <-l.lines:
				default:
					return
				}
			}
		}
		if n := l.lost.Swap(0); n > 0 {
			fmt.Fprintf(w, "level=WARN msg=\"lines of the log were lost because nobody read them\" lines=%d\n", n)
		}
		w.Write(line) // there is nobody to tell of an error
	}
}

// Write implements io.Writer. It never waits, and never fails.
func (l *logWriter) Write(line []byte) (int, error) {
	select {
	case l.lines <- plain.Escape(bytes.Clone(line)):
	default:
		l.lost.Add(1)
	}
	return len(line), nil
}

// Close waits a moment for the lines that are left. What is written later is
// lost.
func (l *logWriter) Close() error {
	close(l.quit)
	select {
	case <-l.done:
	case <-time.After(logFlush):
	}
	return nil
}
