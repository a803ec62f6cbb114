// Package rig is what the end-to-end tests run on: directors, clients and servers as
// hosts of a network of namespaces, the programs on them, and the machine with an IPVS
// kernel.
package rig
