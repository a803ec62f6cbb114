package packetfilter

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// table is the table as the library has it.
func (t Table) table() *nftables.Table {
	family := nftables.TableFamilyIPv4
	if t.IPv6 {
		family = nftables.TableFamilyIPv6
	}
	return &nftables.Table{Name: TableName, Family: family}
}

// set is the set without its elements.
func (s Set) set(in *nftables.Table, ipv6 bool) *nftables.Set {
	types := make([]nftables.SetDatatype, len(s.Fields))
	for i, f := range s.Fields {
		types[i] = f.datatype(ipv6)
	}
	out := &nftables.Set{Table: in, Name: s.Name, KeyType: nftables.MustConcatSetType(types...), Concatenation: len(types) > 1, Interval: s.interval()}
	if s.Map {
		out.IsMap, out.DataType = true, nftables.TypeVerdict
	}
	return out
}

// elements are the elements of the set; of a set with ranges each has an end.
func (s Set) elements() []nftables.SetElement {
	out := make([]nftables.SetElement, len(s.Elements))
	for i, e := range s.Elements {
		var from, to []byte
		for j, v := range e.Values {
			from = append(from, s.Fields[j].key(v)...)
			if v.LastAddr.IsValid() {
				v.Addr = v.LastAddr
			}
			if v.Last > v.Number {
				v.Number = v.Last
			}
			to = append(to, s.Fields[j].key(v)...)
		}
		out[i].Key = from
		if s.interval() {
			out[i].KeyEnd = to
		}
		if s.Map {
			out[i].VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: e.Chain}
		}
	}
	return out
}

func (c Chain) chain(in *nftables.Table) *nftables.Chain {
	if c.Led {
		return &nftables.Chain{Name: c.Name, Table: in}
	}
	accept := nftables.ChainPolicyAccept
	out := &nftables.Chain{
		Name: c.Name, Table: in, Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: nftables.ChainHookRef(nftables.ChainHook(c.Hook)), Priority: nftables.ChainPriorityRef(nftables.ChainPriority(c.Priority)),
	}
	if c.NAT {
		out.Type = nftables.ChainTypeNAT
	}
	return out
}

// exprs are the expressions of the rule. sets are those of its table.
func (r Rule) exprs(ipv6 bool, sets map[string]*nftables.Set) []expr.Any {
	const register = unix.NFT_REG_1
	var out []expr.Any
	if r.Unmarked {
		out = append(out, &expr.Meta{Key: expr.MetaKeyMARK, Register: register},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: make([]byte, 4)})
	}
	for _, c := range r.Is {
		out = append(out, c.Field.load(ipv6, register))
		if c.Value.Mask != 0 {
			out = append(out, &expr.Bitwise{
				SourceRegister: register, DestRegister: register, Len: 4,
				Mask: binaryutil.NativeEndian.PutUint32(c.Value.Mask), Xor: make([]byte, 4),
			})
		}
		out = append(out,
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: c.Field.bare(c.Value)})
	}
	// The parts of a concatenation are in registers of four octets one after the other.
	word := uint32(0)
	for _, f := range r.Fields {
		out = append(out, f.load(ipv6, registerOf(word)))
		word += words(f.datatype(ipv6).Bytes)
	}
	if r.Set != "" {
		lookup := &expr.Lookup{SourceRegister: register, SetName: r.Set, SetID: sets[r.Set].ID}
		if r.Do == Follow {
			lookup.DestRegister, lookup.IsDestRegSet = unix.NFT_REG_VERDICT, true
		}
		out = append(out, lookup)
	}
	switch r.Do {
	case SetMark:
		out = append(out, &expr.Immediate{Register: register, Data: binaryutil.NativeEndian.PutUint32(r.Mark)},
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: register})
	case ToSource:
		const last = unix.NFT_REG_2
		nat := &expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: register, RegAddrMax: register}
		if ipv6 {
			nat.Family = unix.NFPROTO_IPV6
		}
		out = append(out, &expr.Immediate{Register: register, Data: r.Pool.First.AsSlice()})
		if r.Pool.First != r.Pool.Last {
			out = append(out, &expr.Immediate{Register: last, Data: r.Pool.Last.AsSlice()})
			nat.RegAddrMax, nat.Persistent = last, true
		}
		out = append(out, nat)
	case Accept:
		out = append(out, &expr.Verdict{Kind: expr.VerdictAccept})
	case Drop:
		out = append(out, &expr.Verdict{Kind: expr.VerdictDrop})
	}
	return out
}

// registerOf is the register at a place of four octets, under the number by which the
// kernel tells it: the first of four has the number of the register of sixteen.
func registerOf(word uint32) uint32 {
	if word%4 == 0 {
		return unix.NFT_REG_1 + word/4
	}
	return unix.NFT_REG32_00 + word
}

func words(octets uint32) uint32 { return (octets + 3) / 4 }

func (f Field) datatype(ipv6 bool) nftables.SetDatatype {
	switch f {
	case Protocol:
		return nftables.TypeInetProto
	case Port:
		return nftables.TypeInetService
	case PacketMark:
		return nftables.TypeMark
	case Incoming:
		return nftables.TypeIFName
	default:
		if ipv6 {
			return nftables.TypeIP6Addr
		}
		return nftables.TypeIPAddr
	}
}

// load puts the field into a register.
func (f Field) load(ipv6 bool, register uint32) expr.Any {
	// Where addresses are in the header: RFC 791 section 3.1, RFC 8200 section 3.
	address := func(offset4, offset6 uint32) expr.Any {
		p := &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset4, Len: 4}
		if ipv6 {
			p.Offset, p.Len = offset6, 16
		}
		return p
	}
	switch f {
	case Destination:
		return address(16, 24)
	case SourceAddress:
		return address(12, 8)
	case Protocol:
		return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}
	case Port:
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	case PacketMark:
		return &expr.Meta{Key: expr.MetaKeyMARK, Register: register}
	case OriginalDestination:
		return &expr.Ct{Key: expr.CtKeyDST, Register: register, Direction: 0}
	default:
		return &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register}
	}
}

// bare is a value as a register has it.
func (f Field) bare(v Value) []byte {
	switch f {
	case Destination, SourceAddress, OriginalDestination:
		return v.Addr.AsSlice()
	case Protocol:
		return []byte{byte(v.Number)}
	case Port:
		return binary.BigEndian.AppendUint16(nil, uint16(v.Number))
	case PacketMark:
		return binaryutil.NativeEndian.PutUint32(v.Number)
	default:
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, v.Name)
		return name
	}
}

// key is a value as part of a concatenation: up to the next four octets.
func (f Field) key(v Value) []byte {
	b := f.bare(v)
	return append(b, make([]byte, 4*int(words(uint32(len(b))))-len(b))...)
}
