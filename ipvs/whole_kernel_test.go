//go:build ipvskernel

package ipvs_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"lvsha/ipvs"
)

// TestKernelListWhole: what is in the table is in the list, although services and
// servers of somebody else come and go while the kernel tells it.
func TestKernelListWhole(t *testing.T) {
	newNamespace(t)
	k, somebody := open(t), open(t)
	const services, servers = 300, 400
	ours := make(map[ipvs.ServiceKey]int)
	add := func(s ipvs.Service) {
		t.Helper()
		if err := k.AddService(s); err != nil {
			t.Fatal(err)
		}
		for _, d := range s.Destinations {
			if err := k.AddServer(s.Key, d); err != nil {
				t.Fatal(err)
			}
		}
		ours[s.Key] = len(s.Destinations)
	}
	for i := range services {
		add(service(fmt.Sprintf("192.0.2.10:%d/tcp", 1000+i), "rr"))
	}
	server := service("192.0.2.11:80/tcp", "rr", "10.0.0.1:80 dr 1").Destinations[0]
	large := service("192.0.2.11:80/tcp", "rr")
	a := netip.MustParseAddr("10.1.0.1")
	for range servers {
		server.Addr = netip.AddrPortFrom(a, 80)
		large.Destinations = append(large.Destinations, server)
		a = a.Next()
	}
	add(large)

	// What nobody has seen yet may be seen late.
	if n := len(list(t, k)); n != services+1 {
		t.Fatalf("%d services", n)
	}
	stop, ended := make(chan struct{}), make(chan error, 1)
	changes := 0
	go func() {
		ended <- func() error {
			for {
				for _, f := range []func(s ipvs.Service, d ipvs.Destination) error{
					func(s ipvs.Service, d ipvs.Destination) error {
						return errors.Join(somebody.AddService(s), somebody.AddServer(large.Key, d))
					},
					func(s ipvs.Service, d ipvs.Destination) error {
						return errors.Join(somebody.RemoveService(s.Key), somebody.RemoveServer(large.Key, d))
					},
				} {
					d := server
					for i := range 100 {
						select {
						case <-stop:
							return nil
						default:
						}
						d.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, 0, byte(i + 1)}), 80)
						if err := f(service(fmt.Sprintf("192.0.2.12:%d/tcp", 1000+i), "rr"), d); err != nil {
							return err
						}
						changes++
					}
				}
			}
		}()
	}()
	lists := 0
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); lists++ {
		have := make(map[ipvs.ServiceKey]int)
		table, err := k.List()
		if err != nil {
			t.Errorf("list %d: %v", lists, err)
			continue
		}
		for _, s := range table {
			n := 0
			for _, d := range s.Destinations {
				if d.Addr.Addr().As4()[1] == 1 {
					n++
				}
			}
			have[s.Key] = n
		}
		for key, n := range ours {
			if got, there := have[key]; !there || got != n {
				t.Errorf("list %d: service %s is there: %t, with %d of %d servers", lists, key, there, got, n)
			}
		}
		if t.Failed() {
			break
		}
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	t.Logf("%d lists beside %d changes", lists, changes)
	if lists < 3 || changes < 100 {
		t.Error("too few to say anything")
	}
}
