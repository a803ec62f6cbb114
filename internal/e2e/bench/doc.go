// Package bench measures lvsha, most of it beside keepalived, and tests in small what is
// measured at large.
package bench
