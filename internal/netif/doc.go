// Package netif is the kernel's network interfaces and addresses, through
// rtnetlink, and the gratuitous ARP that announces addresses.
package netif
