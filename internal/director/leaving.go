package director

import (
	"net/netip"
	"slices"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/packetfilter"
	"lvsha/ipvs"
)

// A file that has other servers than the one before must not leave a service without any
// until the new ones have been asked for the first time. So those that leave stay in their
// rows, behind the servers of the file, as far as the pool needs them.

// leavingServer is a server that the file does not have any more, or that the kernel had
// in use at the start and the file does not have.
type leavingServer struct {
	// found is what the kernel has, which it keeps until it goes.
	found ipvs.Destination
	// last is how it was judged for the last time; nobody asks it any more.
	last healthcheck.Member
}

// leave has the servers of the row before that are in use stay behind those of this one,
// and says how long at most.
func (row *judgedRow) leave(was *judgedRow) {
	before := make(map[netip.AddrPort]int, len(was.servers))
	for i, server := range was.servers {
		before[server.at] = i
	}
	stays := make(map[netip.AddrPort]bool, len(row.servers))
	var wait time.Duration
	for _, server := range row.servers {
		stays[server.at] = true
		if i, there := before[server.at]; !there || !slices.Equal(was.servers[i].targets, server.targets) {
			wait = max(wait, server.firstVerdict(row.service.Initial))
		}
	}
	row.wait, row.until = wait, was.until
	for i, server := range was.servers {
		if stays[server.at] || row.isSorry(server.at) {
			continue
		}
		switch {
		case server.leaving != nil:
		case i < len(was.outcome.Shares) && i < len(was.members) && was.outcome.Shares[i].Used && was.outcome.Shares[i].Weight > 0:
			last := was.members[i]
			last.Leaving, last.Awaited = true, false
			last.Reason = "no longer in the file; the last that was seen of it: " + last.Reason
			if last.Doubted {
				last.State, last.Doubted = healthcheck.Up, false
			}
			found := server.Destination(was.listen)
			found.Weight = was.outcome.Shares[i].Weight
			if !row.fits(found) {
				continue
			}
			server.leaving, server.targets, server.weights, server.telling, server.window = &leavingServer{found, last}, nil, nil, nil, 0
		default:
			continue
		}
		row.servers = append(row.servers, server)
	}
}

// adopt has the servers stay that were in use when the service was found in the kernel and
// that the file does not have.
func (row *judgedRow) adopt(now time.Time, found ipvs.Service) {
	file := len(row.servers)
	inUse := false
	for _, d := range found.Destinations {
		if d.Weight == 0 || row.isSorry(d.Addr) {
			continue
		}
		inUse = true
		d.Active, d.Inactive, d.Templates, d.Traffic, d.Place, d.Extra = 0, 0, 0, ipvs.Traffic{}, 0, ""
		if !row.fits(d) {
			continue
		}
		if slices.ContainsFunc(row.servers[:file], func(s judgedServer) bool { return s.at == d.Addr }) {
			continue
		}
		server := config.Server{
			Address: d.Addr, Weight: max(d.Weight/max(row.service.Rules.Scale, 1), 1), Forward: d.Forward, Tunnel: d.Tunnel,
			UpperThreshold: d.UpperThreshold, LowerThreshold: d.LowerThreshold,
		}
		// The kernel does not tell full NAT from NAT: it is taken for what the others are.
		if i := slices.IndexFunc(row.service.Servers, func(s config.Server) bool { return s.FullNAT }); i >= 0 && d.Forward == ipvs.NAT {
			server.FullNAT, server.Source = true, row.service.Servers[i].Source
		}
		row.servers = append(row.servers, judgedServer{Server: server, at: d.Addr, shows: wordsOf(server, row.listen, d.Addr, nil), leaving: &leavingServer{
			found: d, last: healthcheck.Member{
				Server: d.Addr, Weight: server.Weight, Leaving: true,
				Verdict: healthcheck.Verdict{State: healthcheck.Up, Reason: "not in the file, and in use when this process began", Since: now},
			},
		}})
	}
	if !inUse {
		return
	}
	if row.service.Sorry != nil {
		row.pool.Adopt()
	}
	for _, server := range row.servers[:file] {
		row.wait = max(row.wait, server.firstVerdict(row.service.Initial))
	}
}

// adopt has the rows begin with what was in use in the kernel at the start.
func (j *judging) adopt(now time.Time, table []ipvs.Service) {
	found := make(map[ipvs.ServiceKey]ipvs.Service, len(table))
	for _, s := range table {
		found[s.Key] = s
	}
	for _, row := range j.rows {
		if s, there := found[row.listen]; there {
			row.adopt(now, s)
		}
	}
}

// fits reports whether the service may have a server as it is in the kernel: one that may
// not would keep all others out.
func (row *judgedRow) fits(d ipvs.Destination) bool {
	s := row.service.On(row.listen)
	s.Destinations = []ipvs.Destination{d}
	return ipvs.Validate(s) == nil
}

// isSorry reports whether an address is that of the row's sorry server.
func (row *judgedRow) isSorry(at netip.AddrPort) bool {
	return row.service.Sorry != nil && row.service.Sorry.At(row.listen) == at
}

// firstVerdict is the longest time in which the first verdicts of a server's checks come.
func (s *judgedServer) firstVerdict(initial healthcheck.State) (d time.Duration) {
	for _, t := range s.targets {
		d = max(d, t.Check.FirstVerdict(initial))
	}
	return d
}

// await begins the time in which the first verdicts of new servers are awaited, and reports
// whether it goes on.
func (row *judgedRow) await(now time.Time) bool {
	if row.wait > 0 {
		// Those of a file before may take longer than those of this one.
		if until := now.Add(row.wait); until.After(row.until) {
			row.until = until
		}
		row.wait = 0
	}
	return now.Before(row.until)
}

// awaited reports whether no verdict that a probe made decides yet about a server, of which
// combined is what all that is known makes.
func (row *judgedRow) awaited(server judgedServer, combined healthcheck.State, seen []healthcheck.Judgment) bool {
	if combined != healthcheck.Down || !slices.ContainsFunc(seen, func(v healthcheck.Judgment) bool { return v.Open }) {
		return combined == healthcheck.Unknown
	}
	decided := make([]healthcheck.Verdict, len(seen))
	for i, v := range seen {
		if decided[i] = v.Verdict; v.Open {
			decided[i].State = healthcheck.Unknown
		}
	}
	return row.service.Require.Combine(decided, server.weights...).State == healthcheck.Unknown
}

// dismiss lets those go that leave and are not needed any more, for good: what comes back
// would be a server that nobody has looked at meanwhile.
func (row *judgedRow) dismiss() {
	// Those that leave are the last.
	if n := len(row.servers); n == 0 || row.servers[n-1].leaving == nil {
		return
	}
	servers, members, shares := row.servers[:0:0], row.members[:0], row.outcome.Shares[:0]
	for i, server := range row.servers {
		if server.leaving != nil && !row.outcome.Shares[i].Used {
			continue
		}
		servers, members, shares = append(servers, server), append(members, row.members[i]), append(shares, row.outcome.Shares[i])
	}
	if len(servers) < len(row.servers) {
		row.servers, row.members, row.outcome.Shares = servers, members, shares
	}
}

// leavingSources are the source addresses of connections with servers of full NAT that
// leave.
func (j *judging) leavingSources() (out []packetfilter.Source) {
	for _, row := range j.rows {
		var leaving []config.Server
		for _, server := range row.servers {
			if server.leaving != nil {
				leaving = append(leaving, server.Server)
			}
		}
		if len(leaving) > 0 {
			out = append(out, sourceAddresses(config.Service{Listen: []ipvs.ServiceKey{row.listen}, Servers: leaving})...)
		}
	}
	return out
}
