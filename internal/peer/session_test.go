package peer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/internal/peer"
)

// pair is two directors with a session, each with kinds.
func pair(c *cluster, kinds ...peer.Kind) (a, b *node) {
	a, b = c.start(0, c.config(0), kinds...), c.start(1, c.config(1), kinds...)
	c.within(5*time.Second, "a session", connected(a, b))
	return a, b
}

// TestSend: messages of a kind arrive in order, and all of them.
func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		defer c.stop()
		var mu sync.Mutex
		var got []uint32
		a, _ := pair(c, peer.Kind{Name: "numbers", Receive: func(_ context.Context, s *peer.Session, payload []byte) error {
			mu.Lock()
			defer mu.Unlock()
			if s.Peer() != "lvs1" {
				return fmt.Errorf("from %s", s.Peer())
			}
			got = append(got, binary.BigEndian.Uint32(payload))
			return nil
		}})
		s, _ := a.Session("lvs2")
		for i := range uint32(10000) {
			if err := s.Send(t.Context(), "numbers", binary.BigEndian.AppendUint32(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(got) != 10000 || !slices.IsSorted(got) {
			t.Errorf("%d messages", len(got))
		}
		if err := s.Send(t.Context(), "numbers", make([]byte, peer.MaxPayload+1)); err == nil {
			t.Error("a message that is too long was taken")
		}
	})
}

// TestSlowReader: a reader that reads nothing bounds what its senders can queue,
// and holds up no other kind.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		defer c.stop()
		release := make(chan struct{})
		quick := make(chan time.Duration, 100)
		a, b := pair(c,
			peer.Kind{Name: "slow", Receive: func(ctx context.Context, _ *peer.Session, _ []byte) error {
				select {
				case <-release:
				case <-ctx.Done():
				}
				return nil
			}},
			peer.Kind{Name: "quick", Receive: func(_ context.Context, _ *peer.Session, payload []byte) error {
				quick <- time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(payload))))
				return nil
			}})
		s, _ := a.Session("lvs2")
		sent := 0
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := s.Send(ctx, "slow", make([]byte, 32<<10))
			cancel()
			if errors.Is(err, context.DeadlineExceeded) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			sent += 32 << 10
			if sent > 100<<20 {
				t.Fatal("no end to what a slow reader is sent")
			}
		}
		t.Logf("%d KiB before a sender has to wait", sent>>10)
		if sent > 3<<20 {
			t.Errorf("%d octets queued", sent)
		}
		time.Sleep(time.Minute)
		for range 50 {
			if err := s.Send(t.Context(), "quick", binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(quick) != 50 {
			t.Errorf("%d of 50 quick messages arrived", len(quick))
		}
		if !connected(a, b)() {
			t.Error("the session ended")
		}
		close(release)
		if err := s.Send(t.Context(), "slow", []byte("again")); err != nil {
			t.Error(err)
		}
		// A sender that waits is told of the end.
		b.stop()
		synctest.Wait()
		if err := s.Send(t.Context(), "slow", nil); !errors.Is(err, peer.ErrEnded) {
			t.Errorf("Send over an ended session: %v", err)
		}
	})
}

// TestCompose: what is composed is the newest when it is sent, however often the
// room says that there is something, and whole again with a new session.
func TestCompose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		defer c.stop()
		var mu sync.Mutex
		value, composed := 0, 0
		sent := make(map[*peer.Session]int)
		compose := func(s *peer.Session) ([]byte, bool) {
			mu.Lock()
			defer mu.Unlock()
			if s.Peer() != "lvs2" || sent[s] == value {
				return nil, false
			}
			sent[s] = value
			composed++
			return binary.BigEndian.AppendUint64(nil, uint64(value)), false
		}
		var got []int
		opened, closed := 0, 0
		kind := peer.Kind{
			Name: "state", Compose: compose,
			Open: func(*peer.Session) {
				mu.Lock()
				defer mu.Unlock()
				opened++
				if opened-closed > 2 { // one at each end
					t.Error("sessions overlap")
				}
			},
			Close: func(s *peer.Session) {
				mu.Lock()
				defer mu.Unlock()
				closed++
			},
			Receive: func(_ context.Context, _ *peer.Session, payload []byte) error {
				mu.Lock()
				got = append(got, int(binary.BigEndian.Uint64(payload)))
				mu.Unlock()
				time.Sleep(time.Second) // slowly
				return nil
			},
		}
		value = 1
		a, b := pair(c, kind)
		synctest.Wait()
		for range 1000 {
			mu.Lock()
			value++
			mu.Unlock()
			a.Wake("state")
		}
		time.Sleep(10 * time.Minute)
		mu.Lock()
		if last := got[len(got)-1]; last != 1001 || composed > 1000 {
			t.Errorf("the last of %d is %d", composed, last)
		}
		got = nil
		mu.Unlock()
		b.stop()
		b = c.start(1, c.config(1), kind)
		c.within(5*time.Second, "a session", connected(a, b))
		synctest.Wait()
		mu.Lock()
		if !slices.Equal(got, []int{1001}) {
			t.Errorf("the next session began with %v", got)
		}
		mu.Unlock()
		c.stop()
		if opened != closed || opened != 4 {
			t.Errorf("%d opened, %d closed", opened, closed)
		}
	})
}

// TestStalled: a process that did not run for longer than the silence that is
// death reads what has arrived before it believes that.
func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		there, back := newPipe(1<<16), newPipe(1<<16)
		conn := &fakeConn{in: there, out: back}
		other := &fakeConn{in: back, out: there}
		l := peer.NewLively(&stalled{fakeConn: conn, wrote: func() {
			if _, err := other.Write([]byte("here")); err != nil {
				t.Error(err)
			}
		}})
		b := make([]byte, 10)
		if n, err := l.Read(b); err != nil || string(b[:n]) != "here" {
			t.Errorf("read %q, %v", b[:n], err)
		}
	})
}

// stalled has data that arrive with the deadline, as for a process that was
// stopped meanwhile.
type stalled struct {
	*fakeConn
	wrote func()
}

func (s *stalled) Read(b []byte) (int, error) {
	n, err := s.fakeConn.Read(b)
	if err != nil && s.wrote != nil {
		s.wrote()
		s.wrote = nil
	}
	return n, err
}

// TestBulk sends 10 MB over the machine's network while small messages pass.
func TestBulk(t *testing.T) {
	const total, chunk = 10 << 20, 64 << 10
	received := make(chan int, total/chunk+1)
	quick := make(chan time.Duration, 10000)
	kinds := []peer.Kind{
		{Name: "bulk", Receive: func(_ context.Context, _ *peer.Session, payload []byte) error {
			if !bytes.Equal(payload, bytes.Repeat(payload[:1], len(payload))) {
				return errors.New("damaged")
			}
			received <- len(payload)
			return nil
		}},
		{Name: "quick", Receive: func(_ context.Context, _ *peer.Session, payload []byte) error {
			quick <- time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(payload))))
			return nil
		}},
	}
	c := newCluster(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	begun := make(chan struct{}, 4)
	var channels []*peer.Channel
	addresses := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}
	port := freePort(t)
	for i := range 2 {
		cfg := c.config(i)
		cfg.Addresses, cfg.Port = addresses[i:i+1], port
		cfg.Peers[0].Addresses, cfg.Peers[0].Port = addresses[1-i:2-i], port
		ch := peer.New(peer.Options{Kinds: kinds, OnChange: func(change peer.Change) {
			if change.Connected {
				begun <- struct{}{}
			}
		}})
		ch.Configure(cfg)
		all.Go(func() {
			if err := ch.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		channels = append(channels, ch)
	}
	for range 2 {
		select {
		case <-begun:
		case <-time.After(10 * time.Second):
			t.Fatalf("no session: %+v", channels[0].Snapshot())
		}
	}
	s, ok := channels[0].Session("lvs2")
	if !ok {
		t.Fatal("no session")
	}
	began := time.Now()
	done := make(chan struct{})
	all.Go(func() {
		defer close(done)
		for i := range total / chunk {
			if err := s.Send(ctx, "bulk", bytes.Repeat([]byte{byte(i)}, chunk)); err != nil {
				t.Errorf("chunk %d: %v", i, err)
				return
			}
		}
	})
	got, worst, small := 0, time.Duration(0), 0
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for got < total {
		select {
		case n := <-received:
			got += n
		case d := <-quick:
			worst, small = max(worst, d), small+1
		case <-tick.C:
			if err := s.Send(ctx, "quick", binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))); err != nil {
				t.Fatal(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%d of %d octets after %s", got, total, time.Since(began))
		}
	}
	<-done
	t.Logf("%d octets in %s, %d small messages meanwhile took %s at most", got, time.Since(began), small, worst)
	if worst > 500*time.Millisecond {
		t.Errorf("a small message took %s", worst)
	}
}
