// Package vrrptest is a segment without a kernel: ports that hear each other,
// and interfaces that accept and refuse addresses as Linux does. It is made for
// testing/synctest.
package vrrptest
