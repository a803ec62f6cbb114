// Package bfdtest has a network in memory for tests of package bfd.
package bfdtest
