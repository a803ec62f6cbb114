// Package healthcheck probes real servers and decides which of them are up.
//
// A Target is one server under one Check. The Monitor is given all targets at
// once (Set), probes each on its own schedule and turns the results into a
// Verdict by counting: the first probe decides at once, after that Rise
// successes in a row make a server up and Fall failures in a row make it down.
// Several verdicts about one server are combined by a Require.
//
// The room reads from the inside out:
//
//   - check.go: what is asked of whom
//   - verdict.go, require.go, schedule.go: the decisions; no clock, no socket
//   - question.go: what a kind of check is, and the list of them; a file each, such
//     as tcp.go or smtp.go; session.go: the connection that the libraries of
//     protocols get
//   - monitor.go: the targets; run.go: the goroutine; status.go: what they show
//
// # Fairness towards the server
//
// A probe that failed because this machine had no file descriptors, ports or
// memory left says nothing about the server and moves no counter. The same
// holds for a probe whose timeout fired long after it was due: then this
// process was stopped or starved, and the server is asked again. Both are
// counted as inconclusive.
package healthcheck
