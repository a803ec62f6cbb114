package packetfilter_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/nftables"

	"lvsha/internal/nlconn"
	"lvsha/internal/packetfilter"
)

// TestKernelBesideOthers: somebody changes tables of his own all the time, and ours are
// read as they are, or are said to be unknown.
func TestKernelBesideOthers(t *testing.T) {
	h, k := host(t)
	all := everything()
	if err := k.Replace(all.Tables()); err != nil {
		t.Fatal(err)
	}
	var others *nftables.Conn
	err := h.Do(func() (err error) {
		others, err = nftables.New(nftables.AsLasting())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	stop, ended := make(chan struct{}), make(chan error, 1)
	changes := 0
	go func() {
		table := &nftables.Table{Name: "site", Family: nftables.TableFamilyIPv4}
		for {
			select {
			case <-stop:
				ended <- others.CloseLasting()
				return
			default:
			}
			others.AddTable(table)
			err := others.Flush()
			others.DelTable(table)
			if err = errors.Join(err, others.Flush()); err != nil {
				ended <- err
				return
			}
			changes += 2
		}
	}()
	read, unknown := 0, 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		// Anew each time: what is known by the ruleset's number is not read.
		switch ok, err := k.Same(everything().Tables()); {
		case errors.Is(err, nlconn.ErrInterrupted):
			unknown++
		case err != nil || !ok:
			t.Errorf("same: %t, %v", ok, err)
		default:
			read++
		}
		if read%10 == 9 {
			if err := k.Replace(everything().Tables()); err != nil && !errors.Is(err, nlconn.ErrInterrupted) {
				t.Error(err)
			}
		}
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	t.Logf("read %d times, %d times unknown, beside %d changes", read, unknown, changes)
	if read+unknown == 0 || changes < 10 {
		t.Error("too few to say anything")
	}
	var fresh packetfilter.Kernel
	if err := h.Do(func() (err error) {
		fresh, err = packetfilter.Open()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	same(t, fresh, all, true)
}
