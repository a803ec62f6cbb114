package peer_test

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"net/netip"

	"lvsha/internal/peer"
)

// Example asks another director for a table, which comes as a row of messages at
// the pace of its reader.
func Example() {
	keys := make([]ed25519.PrivateKey, 2)
	for i := range keys {
		var err error
		if keys[i], err = peer.NewKey(); err != nil {
			fmt.Println(err)
			return
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	asks := make(chan *peer.Session, 1)
	// lvs2 has the table. Its answers carry the number of the question.
	table := peer.Kind{Name: "example.ask", Receive: func(ctx context.Context, s *peer.Session, question []byte) error {
		for record := range uint32(1000) {
			if err := s.Send(ctx, "example.record", binary.BigEndian.AppendUint32(question, record)); err != nil {
				return nil // the session has ended, and a new one asks again
			}
		}
		return s.Send(ctx, "example.record", question)
	}}
	// lvs1 asks, and reads until a record is empty.
	done, records := make(chan struct{}), 0
	reader := peer.Kind{Name: "example.record", Open: func(s *peer.Session) { asks <- s }, Receive: func(_ context.Context, _ *peer.Session, record []byte) error {
		if len(record) == 4 {
			close(done)
			return nil
		}
		records++
		return nil
	}}
	network := newFabric()
	ended := make(chan error, 2)
	for i, name := range []string{"lvs1", "lvs2"} {
		// Each end names what it understands; it sends what the other does.
		kinds := []peer.Kind{{Name: "example.ask"}, reader}
		if i == 1 {
			kinds = []peer.Kind{table, {Name: "example.record"}}
		}
		c := peer.New(peer.Options{Network: network, Kinds: kinds})
		cfg := peer.Config{Name: name, Key: keys[i], Port: peer.DefaultPort}
		for j, other := range []string{"lvs1", "lvs2"} {
			address := []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(j + 1)})}
			if i == j {
				cfg.Addresses = address
			} else {
				cfg.Peers = append(cfg.Peers, peer.Peer{Name: other, Pin: peer.PinOf(keys[j]), Addresses: address, Port: peer.DefaultPort})
			}
		}
		c.Configure(cfg)
		go func() { ended <- c.Run(ctx) }()
	}
	s := <-asks
	if err := s.Send(ctx, "example.ask", []byte{0, 0, 0, 1}); err != nil {
		fmt.Println(err)
	}
	<-done
	fmt.Printf("%d records from %s\n", records, s.Peer())
	cancel()
	fmt.Println(<-ended, <-ended)
	// Output:
	// 1000 records from lvs2
	// <nil> <nil>
}
