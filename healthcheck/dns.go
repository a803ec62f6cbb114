package healthcheck

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/miekg/dns"
)

// DNS wants a question answered.
type DNS struct {
	// Transport is what carries it.
	Transport string `key:"transport" oneof:"udp,tcp,tls"`
	// Name is the name that is asked for, and Record the type of the record.
	Name   string `key:"name"`
	Record string `key:"record"`
	// Recursion asks the server to find out.
	Recursion bool `key:"recursion"`
	// Rcode is what the answer must say. NOERROR wants a record too.
	Rcode string `key:"rcode"`
	// Answer is what one of the records must be, as the text of a zone file after
	// the type; AnswerRegex must match one of them.
	Answer      string `key:"answer"`
	AnswerRegex string `key:"answer_regex"`
	TLS
}

var defaultDNS = DNS{Name: ".", Record: "SOA", Recursion: true, Rcode: "NOERROR", TLS: defaultTLS}

var (
	_ Question  = DNS{}
	_ Validator = DNS{}
)

// Kind is "dns".
func (DNS) Kind() string { return "dns" }

// String is the name and the type.
func (q DNS) String() string { return q.Name + " " + q.Record }

// Validate is part of Validator.
func (q DNS) Validate() []Problem {
	out := q.problems()
	bad := func(key, format string, args ...any) {
		out = append(out, Problem{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	if _, ok := dns.IsDomainName(q.Name); !ok || strings.ContainsFunc(q.Name, notInRequest) {
		bad("name", "want a name such as \"www.example.com\", got %q", q.Name)
	}
	if t, ok := dns.StringToType[q.Record]; !ok || !asked(t) {
		bad("record", "want the type of a record in capitals such as \"A\" or \"AAAA\", got %q", q.Record)
	}
	if _, ok := dns.StringToRcode[q.Rcode]; !ok {
		bad("rcode", "want a response code such as \"NOERROR\" or \"NXDOMAIN\", got %q", q.Rcode)
	}
	for key, want := range map[string]string{"answer": q.Answer, "answer_regex": q.AnswerRegex} {
		if code, known := dns.StringToRcode[q.Rcode]; want != "" && known && code != dns.RcodeSuccess {
			bad(key, "an answer of %s has no records; leave one of them out", q.Rcode)
		}
	}
	if _, err := regexp.Compile(q.AnswerRegex); err != nil {
		bad("answer_regex", "want a regular expression (RE2): %v", err)
	}
	return out
}

// asked reports whether a name server may be asked for records of a type: some are no
// records, others ask for a whole zone (RFC 5936) or stand beside records.
func asked(record uint16) bool {
	switch record {
	case dns.TypeNone, dns.TypeReserved, dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY, dns.TypeAXFR, dns.TypeIXFR, dns.TypeMAILA, dns.TypeMAILB:
		return false
	}
	return true
}

// Prepare is part of Question.
func (q DNS) Prepare() (ProbeFunc, error) {
	if q.Name == "" {
		q.Name = defaultDNS.Name
	}
	if q.Record == "" {
		q.Record = defaultDNS.Record
	}
	if q.Rcode == "" {
		q.Rcode = defaultDNS.Rcode
	}
	regex, err := regexp.Compile(q.AnswerRegex)
	if err != nil {
		return nil, err
	}
	c := q.client()
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c, regex) }, nil
}

// dnsBuffer is the largest answer over UDP, in bytes, that is asked for: it passes
// everywhere in one piece.
const dnsBuffer = 1232

// probe asks once: a lost packet is a failure, and Fall is there for that.
func (q DNS) probe(ctx context.Context, t Target, c *tlsClient, regex *regexp.Regexp) (Answer, error) {
	network := "tcp"
	if q.Transport == "udp" || q.Transport == "" {
		network = "udp"
	}
	s, err := t.open(ctx, network, "DNS", onlyIf(q.Transport == "tls", c))
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.doing = "waiting for the answer"
	ask := new(dns.Msg).SetQuestion(dns.Fqdn(q.Name), dns.StringToType[q.Record])
	ask.RecursionDesired = q.Recursion
	ask.SetEdns0(dnsBuffer, false)
	s.plausible = func(head []byte) bool {
		if network == "tcp" {
			head = head[min(2, len(head)):] // behind the length
		}
		return len(head) < 2 || network == "udp" || binary.BigEndian.Uint16(head) == ask.Id
	}
	message, err := ask.Pack()
	if err != nil {
		return Answer{}, err
	}
	said, err := s.askDNS(message, network == "tcp")
	if err != nil {
		return Answer{}, s.packetReason(err)
	}
	return q.met(s, said, regex)
}

// dnsAnswer is what counts of an answer.
type dnsAnswer struct {
	response, truncated bool
	rcode               int
	records             []dns.RR
}

// dnsHeader is the length of a message's header, in bytes.
const dnsHeader = 12

// dnsRecords bounds the records of an answer that are looked at.
const dnsRecords = 100

// errDNS is the reason for a message that is malformed.
var errDNS = errors.New("malformed message")

// askDNS sends a question and reads its answer. Over datagrams what answers another
// question is passed over.
func (s *session) askDNS(message []byte, stream bool) (*dnsAnswer, error) {
	if !stream {
		if _, err := s.Write(message); err != nil {
			return nil, err
		}
		buf := make([]byte, 4<<10)
		for {
			n, err := s.Read(buf)
			if err != nil {
				return nil, err
			}
			switch {
			case n < dnsHeader || buf[2]&0x80 == 0 && !bytes.Equal(buf[:2], message[:2]):
				s.strange = true
			case !bytes.Equal(buf[:2], message[:2]):
				s.others = true
			default:
				return parseDNS(buf[:n])
			}
		}
	}
	if _, err := s.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)); err != nil {
		return nil, err
	}
	head, err := s.take(2)
	if err != nil {
		return nil, err
	}
	said, err := s.take(int(binary.BigEndian.Uint16(head)))
	if err != nil {
		return nil, err
	}
	if len(said) < 2 || !bytes.Equal(said[:2], message[:2]) {
		return nil, errDNS
	}
	return parseDNS(said)
}

// parseDNS reads a message as far as its answer. The counts in it are only believed as far
// as there are octets for them.
func parseDNS(b []byte) (*dnsAnswer, error) {
	if len(b) < dnsHeader {
		return nil, errDNS
	}
	flags := binary.BigEndian.Uint16(b[2:])
	out := &dnsAnswer{response: flags&0x8000 != 0, truncated: flags&0x0200 != 0, rcode: int(flags & 0xf)}
	off := dnsHeader
	var err error
	for range binary.BigEndian.Uint16(b[4:]) {
		if _, off, err = dns.UnpackDomainName(b, off); err != nil {
			return nil, err
		}
		if off += 4; off > len(b) {
			return nil, errDNS
		}
	}
	for range min(binary.BigEndian.Uint16(b[6:]), dnsRecords) {
		if off == len(b) && out.truncated {
			break
		}
		var record dns.RR
		if record, off, err = dns.UnpackRR(b, off); err != nil {
			if out.truncated {
				break
			}
			return nil, err
		}
		out.records = append(out.records, record)
	}
	return out, nil
}

// met holds the answer against what it has to be.
func (q DNS) met(s *session, said *dnsAnswer, regex *regexp.Regexp) (Answer, error) {
	if !said.response {
		return Answer{}, unmet("answer is not DNS: it is the question")
	}
	rcode := dns.RcodeToString[said.rcode]
	if rcode == "" {
		rcode = fmt.Sprintf("RCODE%d", said.rcode)
	}
	if rcode != q.Rcode {
		return Answer{}, fmt.Errorf("answer is %s, want %s", rcode, q.Rcode)
	}
	if q.Answer == "" && q.AnswerRegex == "" && said.rcode != dns.RcodeSuccess {
		return s.answer("%s", rcode), nil
	}
	var last string
	for _, record := range said.records {
		text := strings.TrimPrefix(record.String(), record.Header().String())
		if (q.Answer == "" || strings.EqualFold(text, q.Answer)) && regex.MatchString(text) {
			return s.answer("%s %s", dns.TypeToString[record.Header().Rrtype], text), nil
		}
		last = text
	}
	switch {
	case said.truncated:
		return Answer{}, fmt.Errorf("answer is truncated: transport tcp has it all")
	case last == "":
		return Answer{}, fmt.Errorf("answer has no record")
	case q.Answer != "":
		return Answer{}, fmt.Errorf("answer is %s, want %s", printable(last), q.Answer)
	}
	return Answer{}, fmt.Errorf("answer is %s, want a match of %q", printable(last), q.AnswerRegex)
}
