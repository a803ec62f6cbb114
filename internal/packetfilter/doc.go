// Package packetfilter keeps the tables of nftables that services depend on.
//
// What is wanted is a [Rules]: which packets get a firewall mark, which connections
// get another source address, and who may speak to the sync daemons. [Rules.Tables]
// turns it into tables, whose String is what nft(8) would have (rules.go, table.go).
//
// The shell is [Reconciler]: one goroutine that is given the whole of what is wanted,
// compares it with the kernel's tables, and replaces a table that differs in one
// transaction, so that every packet meets the old one or the new one. What somebody
// else changes is put back. A [Kernel] is the real one ([Open]) or one in memory
// ([NewMemory]).
//
// # Ownership
//
// The tables "ip lvsha-ipvs" and "ip6 lvsha-ipvs" are lvsha's, whatever is in them. No
// other table is touched.
package packetfilter
