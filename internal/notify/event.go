package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Kind is a sort of object.
type Kind uint8

// The kinds.
const (
	_ Kind = iota
	// Router is a virtual router, keepalived's INSTANCE.
	Router
	// Group is a sync group.
	Group
	// Service is a virtual service, keepalived's VS, whose quorum is gained or lost.
	Service
)

// String is the kind in lvsha's word.
func (k Kind) String() string {
	switch k {
	case Router:
		return "router"
	case Group:
		return "group"
	case Service:
		return "service"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// word is the kind in keepalived's.
func (k Kind) word() string {
	switch k {
	case Group:
		return "GROUP"
	case Service:
		return "VS"
	}
	return "INSTANCE"
}

// State is what an object can be told to be.
type State uint8

// The states. The zero State is that of an object of which nothing was told.
const (
	_ State = iota
	// Active is keepalived's MASTER.
	Active
	Backup
	Fault
	// Stopped is the end: the daemon stops, or the object left the file.
	Stopped
	// Up and Down are a service with and without a quorum.
	Up
	Down
)

// String is the state in lvsha's word.
func (s State) String() string {
	switch s {
	case 0:
		return "initialize"
	case Active:
		return "active"
	case Backup:
		return "backup"
	case Fault:
		return "fault"
	case Stopped:
		return "stop"
	case Up:
		return "up"
	case Down:
		return "down"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// word is the state in keepalived's.
func (s State) word() string {
	switch s {
	case Active:
		return "MASTER"
	case Backup:
		return "BACKUP"
	case Fault:
		return "FAULT"
	case Stopped:
		return "STOP"
	case Up:
		return "UP"
	case Down:
		return "DOWN"
	}
	return "{UNKNOWN}"
}

// Object is what a program is told about.
type Object struct {
	Kind Kind
	Name string
}

// String is the object as operators know it.
func (o Object) String() string { return o.Kind.String() + " " + o.Name }

// Event is a state that an object came to.
type Event struct {
	Object Object
	// From is what was told before; the Notifier knows.
	From, To State
	// Reason says in a sentence why.
	Reason string
	// Priority is the one in force; 0 for a group.
	Priority uint8
	Time     time.Time
	// Director is the name of this director.
	Director string
	// Addresses are the virtual addresses; those of a service in keepalived's form,
	// such as "[192.0.2.10]:tcp:80".
	Addresses []string
}

// arguments are what a program for any state gets behind its own.
func (e Event) arguments() []string {
	return []string{e.Object.Kind.word(), e.Object.Name, e.To.word(), fmt.Sprint(e.Priority)}
}

// line is what the FIFO gets.
func (e Event) line() string {
	if e.Object.Kind == Service {
		// keepalived knows a service by its address: VS [192.0.2.10]:tcp:80 UP.
		var b strings.Builder
		for _, a := range e.Addresses {
			fmt.Fprintf(&b, "VS %s %s\n", a, e.To.word())
		}
		return b.String()
	}
	return fmt.Sprintf("%s \"%s\" %s %d\n", e.Object.Kind.word(), e.Object.Name, e.To.word(), e.Priority)
}

// input is what a program finds on its standard input: one line of JSON.
func (e Event) input() []byte {
	addresses := e.Addresses
	if addresses == nil {
		addresses = []string{}
	}
	text, err := json.Marshal(struct {
		Object    string    `json:"object"`
		Name      string    `json:"name"`
		From      string    `json:"from"`
		To        string    `json:"to"`
		Reason    string    `json:"reason"`
		Priority  uint8     `json:"priority"`
		Time      time.Time `json:"time"`
		Director  string    `json:"director"`
		Addresses []string  `json:"addresses"`
	}{e.Object.Kind.String(), e.Object.Name, e.From.String(), e.To.String(), e.Reason, e.Priority, e.Time, e.Director, addresses})
	if err != nil {
		panic(fmt.Sprintf("notify: encoding an event: %v", err)) // a time beyond the year 9999
	}
	return append(text, '\n')
}
