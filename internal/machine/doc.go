// Package machine says what a machine of the cluster needs of its own kernel besides
// IPVS and VRRP: kernel parameters of a director, and parameters, addresses and
// tunnels of a real server.
//
// The pure part says what is wanted ([Director], [RealServer]), what of it is not so
// ([Assess]) and what is to be changed ([Reconcile]); who calls it reads and writes.
package machine
