package healthcheck

import (
	"container/heap"
	"time"
)

// flight is a connection that is being made for a probe. A goroutine and a timer for
// each would be most of what a plain TCP check costs, so one goroutine watches all
// of them (see connector_linux.go).
type flight struct {
	entry    *entry
	fd       int
	slot     int32 // its place in the connector's list
	serial   int32 // what tells it from those that had the place before
	polled   bool  // it is in crowd
	start    time.Time
	deadline time.Time
	at       int // in the queue of deadlines
}

// deadlines is a heap of flights by their deadline.
type deadlines []*flight

var _ heap.Interface = (*deadlines)(nil)

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].deadline.Before(d[j].deadline) }
func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].at, d[j].at = i, j
}

// Push is for package heap.
func (d *deadlines) Push(x any) {
	f := x.(*flight)
	f.at = len(*d)
	*d = append(*d, f)
}

// Pop is for package heap.
func (d *deadlines) Pop() any {
	old := *d
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	return f
}
