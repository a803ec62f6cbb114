// Package realserver does a real server's half of direct routing and tunnels: the
// virtual addresses on lo, the ends of the tunnels, and the kernel parameters that keep
// the server from answering ARP for what is the directors'.
//
// [Parts] reads from the file what the services ask of a server, [NewHalf] says what
// that is in the kernel, and [Server] has it so, and puts back exactly what it changed.
package realserver
