package vrrp

// Reason says why a received packet was dropped. Each packet has exactly one.
type Reason uint8

// The reasons, in the order in which a packet is tested (RFC 9568 section 7.1,
// RFC 3768 section 7.1).
const (
	// Accepted is the reason of a packet that was not dropped.
	Accepted Reason = iota
	// BadTTL is a TTL other than 255: the packet may come from another network.
	BadTTL
	// BadLength is a packet that ends early, or goes on after its end.
	BadLength
	// BadVersion is a version other than the configured one.
	BadVersion
	// BadType is a type other than ADVERTISEMENT.
	BadType
	// BadCount is an address count of zero.
	BadCount
	// BadChecksum is a checksum that fits no form that is accepted.
	BadChecksum
	// UnknownVRID is a virtual router that is not configured on the interface.
	UnknownVRID
	// OwnPacket is one of our own, reflected by the network.
	OwnPacket
	// WrongMode is multicast to a unicast virtual router, or the reverse.
	WrongMode
	// UnknownPeer is a unicast packet from an address that is not listed.
	UnknownPeer
	// BadAuth is an authentication type other than the configured one, or a
	// signature where no key is configured.
	BadAuth
	// BadPassword is a password other than the configured one (version 2).
	BadPassword
	// BadFirstAddress is an IPv6 list that does not begin with a link-local
	// address (erratum 8300).
	BadFirstAddress
	// BadInterval is an interval of zero (erratum 8301), or in version 2 one
	// that differs from the configured one.
	BadInterval
	// AuthMissing is a packet without the HMAC trailer that is wanted.
	AuthMissing
	// AuthMalformed is a trailer of an unknown type, or with something reserved.
	AuthMalformed
	// AuthStale is a trailer whose time is outside the window.
	AuthStale
	// AuthUnknownKey is a trailer made with a key that we do not have.
	AuthUnknownKey
	// AuthInvalid is a trailer that the key did not make for this packet.
	AuthInvalid
	// AuthReplay is a trailer that is not newer than the sender's last one.
	AuthReplay
)

// String is the reason in a few words for logs.
func (r Reason) String() string {
	switch r {
	case Accepted:
		return "accepted"
	case BadTTL:
		return "ttl is not 255"
	case BadLength:
		return "length does not fit the address count"
	case BadVersion:
		return "version is not the configured one"
	case BadType:
		return "type is not advertisement"
	case BadCount:
		return "address count is zero"
	case BadChecksum:
		return "checksum is wrong"
	case UnknownVRID:
		return "vrid is not configured here"
	case OwnPacket:
		return "own packet came back"
	case WrongMode:
		return "multicast to a unicast virtual router or the reverse"
	case UnknownPeer:
		return "sender is not a unicast peer"
	case BadAuth:
		return "authentication is not of the configured type"
	case BadPassword:
		return "authentication failed: password is not the configured one"
	case BadFirstAddress:
		return "first address is not link-local"
	case BadInterval:
		return "advertisement interval is not acceptable"
	case AuthMissing:
		return "authentication failed: not signed"
	case AuthMalformed:
		return "authentication failed: trailer is malformed"
	case AuthStale:
		return "authentication failed: time is outside the window"
	case AuthUnknownKey:
		return "authentication failed: key is not configured here"
	case AuthInvalid:
		return "authentication failed: signature is wrong"
	case AuthReplay:
		return "authentication failed: not newer than the last one (replayed)"
	default:
		return "unknown reason"
	}
}

// Counters count what a virtual router saw and did. They never decrease. The
// names follow RFC 6527 where it has one.
type Counters struct {
	// AdvertisementsSent counts packets of any priority, one per unicast peer.
	AdvertisementsSent uint64 `json:"advertisements_sent"`
	// SendErrors counts packets that the kernel refused.
	SendErrors uint64 `json:"send_errors"`
	// AdvertisementsReceived counts valid packets, priority 0 included.
	AdvertisementsReceived uint64 `json:"advertisements_received"`
	// PriorityZeroSent and PriorityZeroReceived count releases.
	PriorityZeroSent     uint64 `json:"priority_zero_sent"`
	PriorityZeroReceived uint64 `json:"priority_zero_received"`
	// BecameActive counts transitions to Active.
	BecameActive uint64 `json:"became_active"`
	// RepliesSuppressed counts immediate answers to losing advertisements
	// that the token bucket held back.
	RepliesSuppressed uint64 `json:"replies_suppressed"`
	// Announcements counts rounds of announcements asked for.
	Announcements uint64 `json:"announcements"`
	// AddressesRestored counts addresses somebody removed and we put back.
	AddressesRestored uint64 `json:"addresses_restored"`
	// Conflicts counts announcements of our addresses by others while Active.
	Conflicts uint64 `json:"conflicts"`
	// Stalls counts timers that ran later than one interval.
	Stalls uint64 `json:"stalls"`
	// IntervalMismatches and AddressListMismatches count packets that were
	// used although they differ from the configuration.
	IntervalMismatches    uint64 `json:"interval_mismatches"`
	AddressListMismatches uint64 `json:"address_list_mismatches"`
	// Strangers counts packets of other routers with our VRID, which are not obeyed.
	Strangers uint64 `json:"foreign_vrid"`
	// The rest count dropped packets by reason.
	TTLErrors         uint64 `json:"ttl_errors"`
	LengthErrors      uint64 `json:"length_errors"`
	VersionErrors     uint64 `json:"version_errors"`
	TypeErrors        uint64 `json:"type_errors"`
	AddressListErrors uint64 `json:"address_list_errors"`
	ChecksumErrors    uint64 `json:"checksum_errors"`
	// VRIDErrors counts for the interface: they belong to no router.
	VRIDErrors         uint64 `json:"vrid_errors"`
	OwnPackets         uint64 `json:"own_packets"`
	ModeErrors         uint64 `json:"mode_errors"`
	UnknownPeers       uint64 `json:"unknown_peers"`
	AuthErrors         uint64 `json:"auth_errors"`
	IntervalErrors     uint64 `json:"interval_errors"`
	FirstAddressErrors uint64 `json:"first_address_errors"`
	PasswordErrors     uint64 `json:"password_errors"`
	// Those of the HMAC trailer have the names of keepalived's statistics.
	AuthMissing    uint64 `json:"auth_missing"`
	AuthMalformed  uint64 `json:"auth_malformed"`
	AuthUnknownKey uint64 `json:"auth_unknown_key"`
	AuthInvalid    uint64 `json:"auth_invalid"`
	AuthStale      uint64 `json:"auth_stale"`
	AuthReplay     uint64 `json:"auth_replay"`
}

// drop counts a dropped packet.
func (c *Counters) drop(r Reason) {
	switch r {
	case BadTTL:
		c.TTLErrors++
	case BadLength:
		c.LengthErrors++
	case BadVersion:
		c.VersionErrors++
	case BadType:
		c.TypeErrors++
	case BadCount:
		c.AddressListErrors++
	case BadChecksum:
		c.ChecksumErrors++
	case UnknownVRID:
		c.VRIDErrors++
	case OwnPacket:
		c.OwnPackets++
	case WrongMode:
		c.ModeErrors++
	case UnknownPeer:
		c.UnknownPeers++
	case BadAuth:
		c.AuthErrors++
	case BadPassword:
		c.PasswordErrors++
	case BadFirstAddress:
		c.FirstAddressErrors++
	case BadInterval:
		c.IntervalErrors++
	case AuthMissing:
		c.AuthMissing++
	case AuthMalformed:
		c.AuthMalformed++
	case AuthStale:
		c.AuthStale++
	case AuthUnknownKey:
		c.AuthUnknownKey++
	case AuthInvalid:
		c.AuthInvalid++
	case AuthReplay:
		c.AuthReplay++
	}
}
