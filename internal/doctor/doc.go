// Package doctor looks for what is wrong around a director and no check of a server finds
// or explains: machines that answer for a virtual address, servers that do not take it,
// gateways that lead past the director, tunnels with too little room, multicast that does
// not arrive, kernel parameters.
//
// [Examine] asks a few questions on the wire, each a packet or frame that is answered by
// whoever is well, and judges by the answers. Everything between is pure: which
// questions there are (plan.go), how they look as frames (frame.go), and what the
// answers say (judge.go).
package doctor
