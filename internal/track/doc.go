// Package track watches what virtual routers depend on besides their own
// interface: other interfaces, processes, files, servers, gateways, programs and
// the health of services. A Condition is one of them; a Tracker watches any
// number; Sum says what they mean to a virtual router's priority.
package track
