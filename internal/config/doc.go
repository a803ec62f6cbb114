// Package config turns lvsha.toml into what the rooms are configured with.
//
// A file is either valid as a whole or yields Problems: all that is wrong with
// it at once, each with its line, its key and what is allowed there. The
// package reads the one file and touches nothing else; whether an interface or a
// program exists is found out by whoever needs it.
//
// The way of a file: decoded into a generic tree by BurntSushi/toml, given its
// lines by an index of the text (lines.go), joined into nodes (node.go), the
// director's overrides laid over (director.go), and read section by section into
// a Config (vrrp.go, service.go, server.go, check.go, load.go). That is done once for each
// director of the file, so that a mistake in the other director's overrides is
// found here and not there.
//
// reference.toml in this directory documents every key.
package config
