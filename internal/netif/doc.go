// Package netif is the kernel's network interfaces and addresses, through
// rtnetlink, and the gratuitous ARP and unsolicited neighbour advertisements that
// announce addresses.
package netif
