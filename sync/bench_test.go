package connsync

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

// manyRecords are established connections of as many clients.
func manyRecords(n int) []Record {
	records := make([]Record, n)
	for i := range records {
		r := tcp4
		r.Key.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 40000)
		records[i] = r
	}
	return records
}

// deaf takes everything in at once.
type deaf struct{}

func (deaf) Put([]byte) error              { return nil }
func (deaf) Backlog() (int, uint64, error) { return 0, 0, nil }
func (deaf) Close() error                  { return nil }

// BenchmarkTake is what taking over a record costs besides the kernel.
func BenchmarkTake(b *testing.B) {
	records := manyRecords(100_000)
	var payloads [][]byte
	for left := records; len(left) > 0; {
		var p []byte
		p, left = sayRecordsOf(1, left)
		payloads = append(payloads, p)
	}
	services := []Service{{Protocol: protocolTCP, Virtual: tcp4.Key.Virtual, Servers: []Server{{Addr: tcp4.Server, Forward: ForwardDR}}}}
	b.ReportAllocs()
	for b.Loop() {
		e := NewExchange(ExchangeOptions{System: newFakeKernel()})
		e.pool, e.shadow = NewPool(services), NewShadow(time.Minute)
		e.in, e.inFor = newInstaller(deaf{}, 1), Config{Interface: "lo", ID: 1}.Daemons()[0].normal()
		e.cfg.Daemons = Config{Interface: "lo", ID: 1}.Daemons()
		s := &session{}
		t := &taking{session: s, id: 1, total: len(records)}
		e.taking = t
		for _, p := range payloads {
			if err := e.take(context.Background(), s, p); err != nil {
				b.Fatal(err)
			}
		}
		if t.result.Installed != len(records) || t.result.Unbound > 0 {
			b.Fatalf("%+v", t.result)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(records)), "ns/record")
}

// BenchmarkGive is what giving a record from the shadow costs besides the channel.
func BenchmarkGive(b *testing.B) {
	e := NewExchange(ExchangeOptions{})
	e.shadow, e.warm, e.cfg.Refresh = NewShadow(time.Minute), true, time.Minute
	now := time.Now()
	for _, r := range manyRecords(100_000) {
		e.shadow.Take(now, r)
	}
	b.ReportAllocs()
	for b.Loop() {
		t, err := e.table(context.Background(), false, func() {})
		if err != nil || len(t.records) != 100_000 {
			b.Fatal(t, err)
		}
		records := t.records
		for len(records) > 0 {
			_, records = sayRecordsOf(1, records)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/record")
}

// BenchmarkListing is what a line of the kernel's listing costs besides the kernel.
func BenchmarkListing(b *testing.B) {
	pool := NewPool(testServices())
	b.ReportAllocs()
	for b.Loop() {
		c, err := parseConn([]byte("TCP C0000209 9C40 C000020A 0050 C0000215 0050 ESTABLISHED     899"), false)
		if err != nil {
			b.Fatal(err)
		}
		if _, why := pool.Record(c, nil); why != fit {
			b.Fatal("no record")
		}
	}
}
