// Package control is the daemon's control socket and its client: HTTP with
// JSON over a Unix socket.
package control
