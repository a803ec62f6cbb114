// Package lab builds throw-away networks of namespaces, and a throw-away
// machine with a real IPVS kernel, for the demo, the tests and the benchmarks.
//
// Nothing has a name in the file system: a namespace lives as long as the
// thread that holds it, a process dies with that thread, and the machine's
// initial RAM disk is an unlinked file. Whatever way the program ends, SIGKILL
// included, the kernel takes all of it back.
package lab
