package connsync

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// With more than two directors a table has records of addresses that its giver does not
// serve, and they may be old: it has not heard of everything. So who serves an address has
// the word about it, record by record. Of addresses that nobody serves by VRRP, such as
// those of firewall marks and of owner = "none", the newer record counts.

// claim is what a record of another director counts for.
type claim uint8

const (
	// void is of an address that a third director serves: its own table has the truth.
	void claim = iota
	// wanting counts where there is nothing here: this director serves the address.
	wanting
	// ruling counts, whatever is here: its giver serves the address.
	ruling
	// rival counts if it is newer than what is here.
	rival
)

// owners are the addresses that directors serve by what they have told, at one moment.
type owners struct {
	ours, giver, others map[netip.Addr]bool
	// vague says that the giver serves more addresses than it tells.
	vague bool
}

// claim is that of a record of the giver.
func (o *owners) claim(k ConnKey) claim {
	v := k.Virtual.Addr()
	if k.Template && k.Protocol == protocolAny {
		return rival // its address is a mark
	}
	switch giver := o.giver[v]; {
	case o.ours[v]:
		return wanting
	case giver && o.others[v]:
		return rival
	case giver:
		return ruling
	case o.others[v]:
		return void
	case o.vague:
		return ruling
	default:
		return rival
	}
}

func addressSet(lists ...[]netip.Addr) map[netip.Addr]bool {
	out := make(map[netip.Addr]bool)
	for _, list := range lists {
		for _, a := range list {
			out[a] = true
		}
	}
	return out
}

// owners are those beside a giver. The caller holds the lock.
func (e *Exchange) owners(giver *partner) *owners {
	o := &owners{ours: addressSet(e.serves), giver: addressSet(giver.told.At), others: make(map[netip.Addr]bool)}
	o.vague = giver.told.Serves > len(giver.told.At)
	for _, p := range e.s.partners {
		if p == giver || !p.able() {
			continue
		}
		for _, a := range p.told.At {
			o.others[a] = true
		}
	}
	return o
}

// ownConn is an entry that is here.
type ownConn struct {
	server netip.AddrPort
	age    age
}

// age is how long ago the last packet of an entry came, in seconds, as far as its timeout
// tells: its zero is arbitrary, but the same on all directors for entries of one key and
// state.
type age int32

func ageOf(k ConnKey, state uint16, left uint32) age {
	return age(int64(defaultTimeout(k, state)/time.Second) - int64(min(left, 1<<30)))
}

// optLeft is an option of our own in a record of a table: the seconds that the entry has
// left on its giver. The kernel ignores one with this bit (IPVS_OPT_F_PARAM), and it is
// taken out before the kernel gets the record.
const optLeft = optIgnorable | 0x0c

const leftSize = 2 + 4

// withLeft adds the option.
func (r *Record) withLeft(left uint32) {
	b := make([]byte, 0, len(r.Options)+leftSize)
	b = append(append(b, r.Options...), optLeft, 4)
	r.Options = string(binary.BigEndian.AppendUint32(b, left))
}

// takeLeft takes the option out; ok is false if there is none.
func (r *Record) takeLeft() (left uint32, ok bool) {
	at := len(r.Options) - leftSize
	if at < 0 || r.Options[at] != optLeft || r.Options[at+1] != 4 {
		return 0, false
	}
	left = binary.BigEndian.Uint32([]byte(r.Options[at+2:]))
	r.Options = r.Options[:at]
	return left, true
}

// judge are the records of a table that count, without what they say of the time that is
// left. own returns what is here; it is asked only if that matters.
func (t *taking) judge(records []Record, own func() (map[ConnKey]ownConn, error)) (out []Record, err error) {
	for _, r := range records {
		left, timed := r.takeLeft()
		if t.had != nil {
			t.had[r.Key] = true
		}
		if t.fresh[r.Key] {
			continue
		}
		c := t.owners.claim(r.Key)
		if c == void {
			continue
		}
		if c != ruling && !t.won[r.Key] {
			if t.own == nil {
				if t.own, err = own(); err != nil {
					return nil, err
				}
			}
			here, known := t.own[r.Key]
			if known && (c == wanting || here.server != r.Server && (!timed || ageOf(r.Key, r.State, left) >= here.age)) {
				continue
			}
			t.won[r.Key] = true
		}
		out = append(out, r)
	}
	return out, nil
}

// takesLive reports whether a live record of a partner counts. Of an address that is served
// here it does if nothing is known of it, since the others' news is older, and that of a
// mark too while this director serves at all.
func (e *Exchange) takesLive(o *owners, now time.Time, s *session, r *Record) bool {
	c := o.claim(r.Key)
	if c == void {
		return false
	}
	if c == ruling || c == rival && (!e.s.serving || s.partner.told.Serves > 0) || e.shadow == nil {
		return true
	}
	return !e.shadow.Has(now, r.Key)
}

// emptied reports whether the kernel's table has been taken away from under it: so many
// entries do not end in one moment.
func emptied(before, now int) bool { return before >= fewConns && now == 0 }

// fewConns is how many entries may end within a second by themselves.
const fewConns = 10

// gain takes notice of addresses that have come here. Unless all of them was handed over,
// the tables of the other directors are taken over some time later: there may be what is
// nowhere else. The caller holds the lock.
func (s *situation) gain(addresses []netip.Addr) {
	if len(addresses) == 0 {
		return
	}
	for _, p := range s.partners {
		nothing := p.connected && p.heard && !p.told.Unready && p.told.Conns == 0
		for _, a := range addresses {
			p.full[a] = nothing
		}
		p.fill = s.now.Add(lookAgain)
	}
}

// lacks reports whether a partner may have something of the addresses that are here, and
// that it does not serve itself, that was never here.
func (p *partner) lacks(serves []netip.Addr) bool {
	itself := addressSet(p.told.At)
	return slices.ContainsFunc(serves, func(a netip.Addr) bool { return !p.full[a] && !itself[a] })
}

// hears takes in what a partner has told of itself, first for the first time in a session.
// serves are the addresses that are here.
func (p *partner) hears(r report, first bool, serves []netip.Addr) {
	unseen := p.met == r.Epoch && p.turns != r.Turns || p.met != r.Epoch && r.Turns > 0
	if first && unseen || r.Serves > len(r.At) {
		clear(p.full) // of what it has served meanwhile it may know more
	}
	for _, a := range r.At {
		delete(p.full, a)
	}
	p.told, p.heard = r, true
	if first && r.Conns == 0 && !r.Unready {
		p.gave(serves, r.At)
	}
}

// gave takes notice that all that a partner has is here, or was: what it has of the
// addresses that are here, and this director has not, is over. Of those that it served
// itself when it told them it has news.
func (p *partner) gave(serves, itself []netip.Addr) {
	if p.told.Serves > len(p.told.At) {
		return
	}
	others := addressSet(itself)
	for _, a := range serves {
		if !others[a] {
			p.full[a] = true
		}
	}
}

// complete are the addresses of which a partner has nothing that is not here or over.
func (p *partner) complete(serves []netip.Addr) (out []netip.Addr) {
	for _, a := range serves {
		if p.full[a] {
			out = append(out, a)
		}
	}
	return out
}
