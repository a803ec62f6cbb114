package connsync

import (
	"fmt"
	"net/netip"
	"strconv"
)

// The protocols whose connections have states, as IP protocol numbers. Others
// are synchronised too and have none.
const (
	protocolAny  = 0 // of templates by firewall mark
	protocolTCP  = 6
	protocolUDP  = 17
	protocolSCTP = 132
)

// ConnKey is what the kernel knows a connection by, within a network namespace.
type ConnKey struct {
	// Protocol is the IP protocol number; zero for a template of a firewall mark.
	Protocol uint8
	// Template says that this is no connection but what keeps a client on its
	// server: its client has port zero, and may be a network.
	Template bool
	// Client and Virtual are the ends as the client sees them. Of a template of a
	// firewall mark Virtual's address begins with the mark in network byte order.
	Client, Virtual netip.AddrPort
	// Engine is the persistence engine of a template and its data, such as "sip" and a
	// Call-ID, with a space between: the kernel keeps a template for each data of a client.
	Engine string
}

// String returns "tcp 192.0.2.9:40000 -> 192.0.2.10:80".
func (k ConnKey) String() string {
	if k.Template {
		s := fmt.Sprintf("template %s %s -> %s", protocolName(k.Protocol), k.Client.Addr(), k.Virtual)
		if k.Engine != "" {
			s += " " + k.Engine
		}
		return s
	}
	return fmt.Sprintf("%s %s -> %s", protocolName(k.Protocol), k.Client, k.Virtual)
}

// Conn is an entry of the kernel's connection table: a connection or a template.
type Conn struct {
	Key ConnKey
	// Server is the real server's address and port.
	Server netip.AddrPort
	// State is the kernel's number of the state; see StateName.
	State uint16
	// Expires is the time left in whole seconds, unless a packet comes. It is not
	// the timeout that a packet would set it to.
	Expires uint32
	// Synced says that a sync daemon made it, not a packet.
	Synced bool
	// Engine and EngineData are those of a persistence engine, such as "sip" and a
	// Call-ID.
	Engine, EngineData string
}

// engineKey is ConnKey.Engine.
func engineKey(engine, data string) string {
	if engine == "" || data == "" {
		return ""
	}
	return engine + " " + data
}

// engineOptions are the options of a record that name the engine and its data.
func (c *Conn) engineOptions() string {
	if c.Engine == "" || c.EngineData == "" || len(c.EngineData) > 255 || len(c.Engine) > maxEngine {
		return ""
	}
	return string([]byte{optEngineData, byte(len(c.EngineData))}) + c.EngineData +
		string([]byte{optEngine, byte(len(c.Engine))}) + c.Engine
}

// tcpStates and sctpStates are tcp_state_name_table (ip_vs_proto_tcp.c) and
// sctp_state_name (ip_vs_proto_sctp.c), by the number of the state.
var (
	tcpStates = []string{
		"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK",
	}
	sctpStates = []string{
		"NONE", "INIT1", "INIT", "C-SENT", "C-REPLIED", "C-WAIT", "COOKIE", "C-ECHOED", "ESTABLISHED", "S-SENT", "S-RECEIVED",
		"S-ACK-SENT", "REJECTED", "CLOSED",
	}
	udpStates      = []string{"UDP"}
	templateStates = []string{"NONE", "ASSURED"}
)

// The states that decide something.
const (
	tcpEstablished = 1
	tcpSynSent     = 2
	tcpSynRecv     = 3
	tcpTimeWait    = 5
	tcpClose       = 6
	tcpLastAck     = 8
	tcpListen      = 9
	tcpSynAck      = 10

	sctpEstablished = 8
	sctpClosed      = 13
)

// states are the names of a protocol's states, by number.
func states(protocol uint8, template bool) []string {
	switch {
	case template:
		return templateStates
	case protocol == protocolTCP:
		return tcpStates
	case protocol == protocolSCTP:
		return sctpStates
	default:
		return udpStates
	}
}

// StateName is the kernel's name of a state, such as "ESTABLISHED", or the number.
func (k ConnKey) StateName(state uint16) string {
	if names := states(k.Protocol, k.Template); int(state) < len(names) {
		return names[state]
	}
	return "state " + strconv.Itoa(int(state))
}

// inactive says whether the kernel counts a connection in a state as inactive
// (IP_VS_CONN_F_INACTIVE): tcp_state_active_table and sctp's alike; of protocols
// without states all are. It is meaningless for templates.
func (k ConnKey) inactive(state uint16) bool {
	switch k.Protocol {
	case protocolTCP:
		return state != tcpEstablished && state != tcpSynSent && state != tcpSynRecv && state != tcpSynAck
	case protocolSCTP:
		return state != sctpEstablished
	default:
		return true
	}
}

// passing says whether an entry in a state is gone so soon that handing it over is
// not worth while: an opening that is repeated anyway, or an end.
func (k ConnKey) passing(state uint16) bool {
	switch {
	case k.Template:
		return false
	case k.Protocol == protocolTCP:
		switch state {
		case 0, tcpSynSent, tcpSynRecv, tcpSynAck, tcpTimeWait, tcpClose, tcpLastAck:
			return true
		}
	case k.Protocol == protocolSCTP:
		return state < sctpEstablished || state > sctpEstablished+3
	}
	return false
}

// ending says whether a connection in a state does not go on: its timer is not set
// anew by packets to come.
func (k ConnKey) ending(state uint16) bool {
	switch {
	case k.Template:
		return false
	case k.Protocol == protocolTCP:
		return state != tcpEstablished && state != tcpListen
	case k.Protocol == protocolSCTP:
		return state != sctpEstablished
	}
	return false
}

func protocolName(protocol uint8) string {
	switch protocol {
	case protocolTCP:
		return "tcp"
	case protocolUDP:
		return "udp"
	case protocolSCTP:
		return "sctp"
	case protocolAny:
		return "any"
	default:
		return "protocol " + strconv.Itoa(int(protocol))
	}
}
