// Package nlconn is netlink with lists that are whole: one that changed while the
// kernel told it is asked for again.
package nlconn
