package rig

import (
	"strings"

	"lvsha/internal/lab"
)

// notifyScript is what keepalived's users have: it reads the four arguments behind
// its own.
const notifyScript = `#!/bin/bash
OWN=$1 TYPE=$2 NAME=$3 STATE=$4 PRIORITY=$5
case $STATE in
	"MASTER") WHAT="starting" ;;
	"BACKUP") WHAT="standing by" ;;
	"FAULT")  WHAT="stopping" ;;
	"STOP")   WHAT="stopping"; sleep 0.5 ;;
	*)        WHAT="unknown state" ;;
esac
echo "$OWN $TYPE $NAME $STATE $PRIORITY: $WHAT" >> /run/notify.log
`

// NotifySection has it run for everything, and one more for one state.
const NotifySection = `
[vrrp.web.notify]
active = "/run/active.sh"
[notify]
command = "/run/notify.sh own"
timeout = "10s"
fifo = "/run/notify.fifo"
`

// Hooks writes the scripts to a director, and reads its FIFO.
func (r *Rig) Hooks(h *lab.Host) (reader *lab.Process) {
	r.Helper()
	r.Check(h.WriteFile("/run/notify.sh", []byte(notifyScript), 0o755))
	r.Check(h.WriteFile("/run/active.sh", []byte("#!/bin/sh\ncat > /run/active.json\n"), 0o755))
	_, err := h.Run("mkfifo", "/run/notify.fifo")
	r.Check(err)
	// Open for writing too, it does not end when the daemon does.
	reader, err = h.Start(nil, "sh", "-c", "exec cat <>/run/notify.fifo")
	r.Check(err)
	return reader
}

// Logged are the lines that the script has written.
func (r *Rig) Logged(h *lab.Host) []string {
	text, _ := h.ReadFile("/run/notify.log") // before the first line there is none
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// InFIFO are the lines that the reader has read.
func InFIFO(p *lab.Process) []string { return strings.Split(strings.TrimSpace(p.Output()), "\n") }
