package netif

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// addAddress adds an address to an interface, whose route to its network has a
// metric, 0 for the kernel's default.
func (k *kernel) addAddress(index int, a vrrp.Address, metric uint32) error {
	return k.changeAddress(unix.RTM_NEWADDR, netlink.Create|netlink.Excl, index, a, metric)
}

// changeAddress adds an address to an interface or takes one away.
func (k *kernel) changeAddress(message netlink.HeaderType, flags netlink.HeaderFlags, index int, a vrrp.Address, metric uint32) error {
	data, err := addressMessage(index, a, metric)
	if err != nil {
		return err
	}
	_, err = k.Execute(netlink.Message{
		Header: netlink.Header{Type: message, Flags: netlink.Request | netlink.Acknowledge | flags},
		Data:   data,
	})
	return err
}

// addressMessage is a struct ifaddrmsg with attributes. An IPv6 address is added
// without duplicate address detection, which would keep it from working for a
// second and could find the director that is just giving it up; and it is not
// preferred, or the kernel would take it as the source of the director's own
// connections and of tunnels (RFC 6724 section 5, rule 3).
func addressMessage(index int, a vrrp.Address, metric uint32) ([]byte, error) {
	p := a.Prefix
	if !p.IsValid() {
		return nil, errors.New("not an address with a prefix length")
	}
	ip := p.Addr().AsSlice()
	family, flags, scope := byte(unix.AF_INET), byte(0), a.Scope
	if p.Addr().Is6() {
		family, flags = unix.AF_INET6, unix.IFA_F_NODAD
		if p.Addr().IsLinkLocalUnicast() {
			scope = unix.RT_SCOPE_LINK
		}
	}
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.IFA_LOCAL, ip)
	attributes.Bytes(unix.IFA_ADDRESS, ip)
	if a.Label != "" {
		attributes.String(unix.IFA_LABEL, a.Label)
	}
	if metric != 0 {
		attributes.Uint32(unix.IFA_RT_PRIORITY, metric)
	}
	if p.Addr().Is6() {
		// struct ifa_cacheinfo: preferred for 0 seconds, valid for ever.
		cache := binary.NativeEndian.AppendUint32(nil, 0)
		cache = binary.NativeEndian.AppendUint32(cache, math.MaxUint32)
		attributes.Bytes(unix.IFA_CACHEINFO, append(cache, make([]byte, 8)...))
	}
	encoded, err := attributes.Encode()
	if err != nil {
		return nil, err
	}
	message := append([]byte{family, byte(p.Bits()), flags, scope}, binary.NativeEndian.AppendUint32(nil, uint32(index))...)
	return append(message, encoded...), nil
}

// The kernel installs the local route of an IPv6 address from a work queue, some
// time after it said that the address was added: until then it forwards packets
// to it, or drops them. An announcement must not come before.
const (
	localEvery = 200 * time.Microsecond
	localMost  = 100 * time.Millisecond
)

// awaitLocal waits until the kernel delivers packets to an IPv6 address on an
// interface, but not for long, and whatever goes wrong: the address is there, and
// it is announced again later.
func (k *kernel) awaitLocal(index int, addr netip.Addr) bool {
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.RTA_DST, addr.AsSlice())
	attributes.Uint32(unix.RTA_IIF, uint32(index))
	encoded, err := attributes.Encode()
	if err != nil {
		return false
	}
	// A struct rtmsg: family, length of the destination, and no more.
	question := append(append([]byte{unix.AF_INET6, 128}, make([]byte, unix.SizeofRtMsg-2)...), encoded...)
	for deadline := time.Now().Add(localMost); ; {
		answers, err := k.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request},
			Data:   question,
		})
		const typeAt = 7 // rtm_type
		if err == nil && len(answers) > 0 && len(answers[0].Data) > typeAt && answers[0].Data[typeAt] == unix.RTN_LOCAL {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(localEvery)
	}
}
