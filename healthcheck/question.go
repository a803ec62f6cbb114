package healthcheck

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Question is what a check asks a server: a kind of check with its settings.
// Its types are structs that can be compared, so that those who ask the same of
// one server share one probe.
//
// Each kind is one file with its type, and one line in kinds. The fields that
// the file of the operator sets carry a tag key:"NAME", and may be a string, a
// bool, an int or a time.Duration (with range:"LOW,HIGH"), a List, a Secret
// (NAME or NAME_file), a type with UnmarshalText, a Question (a list of tables of
// the same kind that inherit from this one), or an embedded struct of such fields.
// A string may say oneof:"A,B"; empty then means A. required:"TEXT" says that it must be there, want:"TEXT" what a List
// is to hold.
type Question interface {
	// Kind is the name of the kind, such as "http".
	Kind() string
	// String is what is asked in a word or two, such as "/healthz"; it holds no
	// secret, and may be empty.
	String() string
	// Prepare does what need not be done at each probe. An error fails each of
	// them.
	Prepare() (ProbeFunc, error)
}

// Validator is a Question that can be wrong in other ways than its fields' types
// tell.
type Validator interface {
	// Validate returns what is wrong, each with the key it is about.
	Validate() []Problem
}

// Mute is a Question that may pass without a word from the server.
type Mute interface {
	Mute() bool
}

// Problem is something wrong with a question.
type Problem struct {
	// Key is the key of the field, Item the number of the item of its list, from
	// 1; 0 is the whole of it.
	Key  string
	Item int
	// Message says what is allowed.
	Message string
}

// ProbeFunc asks a server once. It returns within ctx, holds nothing afterwards,
// and says what it saw: the answer of one that passed, or the reason why not. An
// error that is ErrInconclusive says nothing about the server. An answer beside
// an error counts for its advice only.
type ProbeFunc func(ctx context.Context, t Target) (Answer, error)

// Answer is what a probe saw of a server.
type Answer struct {
	// Detail is the reason for success, such as "status 200".
	Detail string
	// Warning is what will be the matter some day, such as a certificate that
	// expires soon.
	Warning string
	// Advice is what the server, or a program, says its share should be.
	Advice Advice
	// Mute is a success without a word from the server: see Verdict.
	Mute bool
	// AtOnce is a result, of either kind, that is no observation which has to be made
	// several times but somebody's word: it decides by itself.
	AtOnce bool
}

// Kind is one kind of check.
type Kind struct {
	// Default has the settings whose author did not say.
	Default Question
	// Ports says what the kind has to do with a port.
	Ports Ports
	// Local is for kinds that look at this machine and not at the server.
	Local bool
	// Limit bounds the probes of this kind in flight; those above it wait their
	// turn and are counted late. Zero means defaultLimit.
	Limit int
}

// Ports says what a kind of check has to do with a port.
type Ports uint8

const (
	// NeedsPort is probed at a port.
	NeedsPort Ports = iota
	// MayHavePort does something with a port if there is one.
	MayHavePort
	// NoPort has none.
	NoPort
	// NeedsOwnPort is probed at another port than the server's, which has to be named.
	NeedsOwnPort
)

const (
	// defaultLimit allows a few thousand black holes before one kind of check
	// falls behind, at some 20 KiB each.
	defaultLimit = 4096
	// execLimit is lower because each is a process.
	execLimit = 64
)

// kinds is the registry. A new kind is one file and one line here.
var kinds = sync.OnceValue(func() map[string]Kind {
	return map[string]Kind{
		"agent":      {Default: Agent{}, Ports: NeedsOwnPort},
		"bfd":        {Default: BFD{}, Ports: NoPort, Local: true},
		"dns":        {Default: defaultDNS},
		"exec":       {Default: Exec{}, Ports: MayHavePort, Limit: execLimit, Local: true},
		"file":       {Default: File{}, Ports: NoPort, Local: true},
		"ftp":        {Default: FTP{TLS: defaultTLS}},
		"grpc":       {Default: GRPC{TLS: defaultTLS}},
		"http":       {Default: HTTP{Request: defaultRequest, Version: "1.1"}},
		"http_proxy": {Default: HTTPProxy{Request: defaultRequest, TLS: defaultTLS}},
		"https":      {Default: HTTPS{Request: defaultRequest, Version: "1.1", TLS: defaultTLS}},
		"imap":       {Default: IMAP{TLS: defaultTLS}},
		"imaps":      {Default: IMAPS{TLS: defaultTLS}},
		"ldap":       {Default: LDAP{Directory: defaultDirectory, TLS: defaultTLS}},
		"ldaps":      {Default: LDAPS{Directory: defaultDirectory, TLS: defaultTLS}},
		"mysql":      {Default: MySQL{SQL{TLS: defaultTLS}}},
		"nntp":       {Default: NNTP{TLS: defaultTLS}},
		"off":        {Default: Switch{}, Ports: NoPort, Local: true},
		"on":         {Default: Switch{On: true}, Ports: NoPort, Local: true},
		"ping":       {Default: Ping{}, Ports: NoPort},
		"pop3":       {Default: POP3{TLS: defaultTLS}},
		"pop3s":      {Default: POP3S{TLS: defaultTLS}},
		"postgres":   {Default: Postgres{SQL{TLS: defaultTLS}}},
		"radius":     {Default: RADIUS{}},
		"redis":      {Default: Redis{TLS: defaultTLS}},
		"sip":        {Default: defaultSIP},
		"smtp":       {Default: defaultSMTP},
		"tcp":        {Default: TCP{TLS: defaultTLS}},
		"udp":        {Default: UDP{}},
	}
})

// Kinds are the names of the kinds of check, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds())) }

// KindOf is the kind of a name; false when there is none.
func KindOf(name string) (Kind, bool) {
	k, ok := kinds()[name]
	return k, ok
}

// List is a list of texts that can be compared.
type List string

// NewList makes a List. No item may contain NUL.
func NewList(items ...string) List { return List(strings.Join(items, "\x00")) }

// Items are the texts; nil when there are none.
func (l List) Items() []string {
	if l == "" {
		return nil
	}
	return strings.Split(string(l), "\x00")
}

// Secret is a text that must not be shown.
type Secret string

// String does not show it.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(secret)"
}

// GoString does not show it either.
func (s Secret) GoString() string { return s.String() }
