// Package program runs programs of the operator's, such as checks and what is to be
// notified: confined, bounded, and without leaving anything behind in the kernel.
//
// It is the only package of the daemon that starts any, because what the daemon waits
// for has to be told from what the kernel gives it to bury (see Reap).
package program
