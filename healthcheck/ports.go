package healthcheck

import (
	"net/netip"
	"time"
)

// A datagram's source port leads, for as long as the kernel remembers it, to the
// server that it led to first, whatever its mark. So each probe along a path gets a
// port that none had for that long.
const (
	// portRest is how long the kernel remembers (IPVS's timeout of UDP; ipvsadm
	// --set changes it).
	portRest = 5 * time.Minute
	// firstPort and portCount are of the kernel's own range, less its end.
	firstPort, portCount = 32768, 28000
	// portTime is how long a port's turn is: all of them take 7 minutes.
	portTime = 15 * time.Millisecond
	// portLead is how many may be given out before their turn, which leaves them
	// their rest.
	portLead = portCount - int64(portRest/portTime)
)

// ports gives out source ports. It keeps to the time of the machine, so that the
// next process does not begin where this one ended.
type ports struct{ last map[flow]int64 }

// flow is what ports are in use for.
type flow struct {
	source netip.Addr
	vip    netip.AddrPort
}

// pick returns a port for a probe at a time, or zero when all are at rest.
func (p *ports) pick(path Path, now time.Duration) uint16 {
	if p.last == nil {
		p.last = make(map[flow]int64)
	}
	f, turn := flow{path.Source, path.VIP}, int64(now/portTime)
	next := turn
	if last, ok := p.last[f]; ok && last >= next {
		next = last + 1
	}
	if next-turn > portLead {
		return 0
	}
	p.last[f] = next
	return uint16(firstPort + next%portCount)
}

// forget drops what time alone would tell.
func (p *ports) forget(now time.Duration) {
	for f, last := range p.last {
		if last < int64(now/portTime) {
			delete(p.last, f)
		}
	}
}
