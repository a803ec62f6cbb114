// Package notify tells programs and a FIFO what becomes of virtual routers and
// sync groups, in keepalived's words, so that what was written for keepalived
// runs unchanged.
//
// Each object has a queue of its own. Its programs run one after the other, in
// the order of the states, and never two at a time. States that were overtaken
// before a program of theirs started are skipped: the first and the last of a
// burst always run. Objects do not wait for each other. The FIFO gets every
// state.
//
// A program that is for any state gets keepalived's four further arguments:
// INSTANCE or GROUP, the name, MASTER, BACKUP, FAULT or STOP, and the priority in
// force, which is 0 for a group. Every program gets a JSON object on its standard
// input. A router that leaves the file is told as STOP; keepalived says FAULT of
// it, or DELETED when asked to. A router that is giving its addresses away is in
// no state of keepalived's, so nothing is told until it has.
package notify
