// Package cmsg is what comes beside a packet: the control messages in which the kernel
// tells when it arrived, where, and how, and in which it is asked where a packet is to
// come from (cmsg(3)).
package cmsg
