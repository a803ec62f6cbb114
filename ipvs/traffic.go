package ipvs

// Traffic is what the kernel has counted of a service or of a server of one since it was
// made, in 64 bits, and the rates that it estimates from that over the last seconds
// (net/netfilter/ipvs/ip_vs_est.c). Under DR and TUN answers do not pass the director, and
// what goes out is zero. Without the sysctl net.ipv4.vs.run_estimation rates are zero.
type Traffic struct {
	// Connections were made; InPackets and InBytes came from clients, OutPackets and
	// OutBytes went to them.
	Connections uint64 `json:"connections"`
	InPackets   uint64 `json:"in_packets"`
	OutPackets  uint64 `json:"out_packets"`
	InBytes     uint64 `json:"in_bytes"`
	OutBytes    uint64 `json:"out_bytes"`
	// The rates are per second.
	ConnectionRate uint64 `json:"connections_per_second"`
	InPacketRate   uint64 `json:"in_packets_per_second"`
	OutPacketRate  uint64 `json:"out_packets_per_second"`
	InByteRate     uint64 `json:"in_bytes_per_second"`
	OutByteRate    uint64 `json:"out_bytes_per_second"`
}

// Plus is the sum of both.
func (t Traffic) Plus(o Traffic) Traffic {
	t.Connections += o.Connections
	t.InPackets += o.InPackets
	t.OutPackets += o.OutPackets
	t.InBytes += o.InBytes
	t.OutBytes += o.OutBytes
	t.ConnectionRate += o.ConnectionRate
	t.InPacketRate += o.InPacketRate
	t.OutPacketRate += o.OutPacketRate
	t.InByteRate += o.InByteRate
	t.OutByteRate += o.OutByteRate
	return t
}
