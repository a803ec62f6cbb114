// Package demo runs the main job for real and tells the story: a client, two
// directors and three real servers as network namespaces on one segment, with
// the kernel's own IPVS. Where this host's kernel has none, the same story runs
// in an emulated machine with Debian's stock kernel.
package demo
