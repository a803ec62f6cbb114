package vrrp

// Virtual is an interface with the hardware address of a virtual router, on top
// of the interface that the router is on.
type Virtual struct {
	// Name is its own name and Base that of the interface below.
	Name, Base string
	// MAC is its hardware address.
	MAC [6]byte
}

// VirtualMAC is the hardware address of a virtual router (RFC 9568 section 7.3,
// V3-PKT-13).
func VirtualMAC(family Family, vrid uint8) [6]byte {
	if family == IPv6 {
		return [6]byte{0x00, 0x00, 0x5e, 0x00, 0x02, vrid}
	}
	return [6]byte{0x00, 0x00, 0x5e, 0x00, 0x01, vrid}
}

// VirtualInterface is the virtual router's own interface; ok is false when it
// has none.
func (c Config) VirtualInterface() (v Virtual, ok bool) {
	if c.Virtual == "" {
		return Virtual{}, false
	}
	return Virtual{Name: c.Virtual, Base: c.Interface, MAC: VirtualMAC(c.Family(), c.VRID)}, true
}

// Refuses says whether packets to the addresses are refused: the owner always
// accepts them (V3-ACT-04).
func (c Config) Refuses() bool { return c.NoAccept && c.Priority != priorityOwner }

// carrier is the interface that an address is installed on. Those of the virtual
// router's interface are on its virtual one, if it has one.
func (c *Config) carrier(a Address) string {
	if c.Virtual != "" && a.Interface == c.Interface {
		return c.Virtual
	}
	return a.Interface
}

// pathCarrier is the interface whose worker has the routes and rules: the one
// of most of the addresses, so that they come after those and go before them.
func (c *Config) pathCarrier() string { return c.carrier(Address{Interface: c.Interface}) }

// sender is the hardware address of advertisements; zero is the interface's own.
// To a unicast peer it is always that, as the kernel finds the way (V3-TX-02).
func (c *Config) sender() [6]byte {
	if c.Virtual == "" || len(c.Unicast) > 0 {
		return [6]byte{}
	}
	return VirtualMAC(c.Family(), c.VRID)
}

// Placed is every address, advertised or not, with the interface that it is
// installed on.
func (c Config) Placed() []Address {
	c = c.resolved()
	placed := c.held()
	for i, a := range placed {
		placed[i].Interface = c.carrier(a)
	}
	return placed
}
