package notify

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// fifoLines is how many lines wait for a reader at most, beside the 64 KiB
	// that the kernel keeps.
	fifoLines = 1000
	// fifoRetry is how often a FIFO that is full, or cannot be opened, is tried
	// again.
	fifoRetry = 100 * time.Millisecond
)

// fifo writes lines to a FIFO without ever waiting for its reader.
type fifo struct {
	onProblem func(string)

	mu   sync.Mutex // guards what follows
	path string
	// lines wait in this order; dropped are those that waited too long since the
	// last was written.
	lines   []string
	dropped int
	// due has room for one: there may be something to do.
	due chan struct{}
}

func newFIFO(onProblem func(string)) *fifo {
	return &fifo{onProblem: onProblem, due: make(chan struct{}, 1)}
}

// set says which FIFO is written; empty is none.
func (f *fifo) set(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path != path {
		f.path, f.lines, f.dropped = path, nil, 0
	}
	f.wake()
}

// add adds a line. The oldest one goes when there are too many.
func (f *fifo) add(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path == "" {
		return
	}
	if len(f.lines) >= fifoLines {
		if f.lines = f.lines[1:]; f.dropped == 0 {
			f.onProblem(fmt.Sprintf("fifo %s: nobody reads it, the oldest lines are dropped", f.path))
		}
		f.dropped++
	}
	f.lines = append(f.lines, line)
	f.wake()
}

func (f *fifo) wake() {
	select {
	case f.due <- struct{}{}:
	default:
	}
}

// run writes until ctx ends, and then what the FIFO takes at once.
func (f *fifo) run(ctx context.Context) {
	var open openFIFO
	defer open.close()
	problem := ""
	for {
		var again <-chan time.Time
		err := f.flush(&open)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != problem && text != "" {
			f.onProblem(text)
		}
		if problem = text; err != nil || f.waiting() {
			again = time.After(fifoRetry)
		}
		select {
		case <-ctx.Done():
			_ = f.flush(&open) // what does not go now has nobody to go to
			return
		case <-f.due:
		case <-again:
		}
	}
}

// waiting says whether there are lines.
func (f *fifo) waiting() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.lines) > 0
}

// flush writes what the FIFO takes without waiting.
func (f *fifo) flush(open *openFIFO) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := open.open(f.path); err != nil {
		return err
	}
	for len(f.lines) > 0 {
		full, err := open.write(f.lines[0])
		if err != nil {
			open.close()
			return err
		}
		if full {
			return nil
		}
		f.lines = f.lines[1:]
	}
	if f.dropped > 0 {
		f.onProblem(fmt.Sprintf("fifo %s: it is read again, %d lines were dropped", f.path, f.dropped))
		f.dropped = 0
	}
	return nil
}
