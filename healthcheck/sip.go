package healthcheck

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// SIP wants an answer to OPTIONS.
type SIP struct {
	// Transport is what carries it.
	Transport string `key:"transport" oneof:"udp,tcp,tls"`
	// URI is what is asked; empty means sip: and the server's address.
	URI string `key:"uri"`
	// From is who asks; empty means sip:lvsha@ and this machine's address.
	From string `key:"from"`
	// Status lists the accepted codes as "200-299,404".
	Status Statuses `key:"status"`
	TLS
}

var defaultSIP = SIP{Status: "200", TLS: defaultTLS}

var (
	_ Question  = SIP{}
	_ Validator = SIP{}
)

// Kind is "sip".
func (SIP) Kind() string { return "sip" }

// String is the URI.
func (q SIP) String() string { return q.URI }

// Validate is part of Validator.
func (q SIP) Validate() []Problem {
	out := q.problems()
	for _, part := range []struct{ key, text string }{{"uri", q.URI}, {"from", q.From}} {
		if part.text == "" {
			continue
		}
		var uri sip.Uri
		if err := sip.ParseUri(part.text, &uri); err != nil || uri.Host == "" || !sipScheme(part.text) || strings.ContainsFunc(part.text, notInRequest) {
			out = append(out, Problem{Key: part.key, Message: fmt.Sprintf("want a URI such as \"sip:monitor@example.com\", got %q", part.text)})
		}
	}
	return out
}

// sipScheme reports whether a URI is one of SIP (RFC 3261 section 19.1).
func sipScheme(uri string) bool {
	scheme, _, _ := strings.Cut(uri, ":")
	return strings.EqualFold(scheme, "sip") || strings.EqualFold(scheme, "sips")
}

// Prepare is part of Question.
func (q SIP) Prepare() (ProbeFunc, error) {
	if q.Status == "" {
		q.Status = defaultSIP.Status
	}
	accepted, err := ParseStatus(string(q.Status))
	if err != nil {
		return nil, err
	}
	c := q.client()
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c, accepted) }, nil
}

// probe asks once: a lost packet is a failure, and Fall is there for that.
func (q SIP) probe(ctx context.Context, t Target, c *tlsClient, accepted StatusSet) (Answer, error) {
	network := "tcp"
	if q.Transport == "udp" || q.Transport == "" {
		q.Transport, network = "udp", "udp"
	}
	s, err := t.open(ctx, network, "SIP", onlyIf(q.Transport == "tls", c))
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.doing = "waiting for the answer"
	s.plausible = func(head []byte) bool { return bytes.HasPrefix(head, []byte("SIP/2.0 ")[:min(len(head), 8)]) }
	request, err := q.request(s)
	if err != nil {
		return Answer{}, err
	}
	if _, err := io.WriteString(s, request.String()); err != nil {
		return Answer{}, s.reason(err)
	}
	final, err := sipAnswer(s, network == "udp", request)
	if err != nil {
		return Answer{}, s.packetReason(err)
	}
	if !accepted.Contains(final.code) {
		return Answer{}, fmt.Errorf("status %d %s, want %s", final.code, printable(final.reason), accepted)
	}
	return s.answer("status %d", final.code), nil
}

// request is OPTIONS (RFC 3261, 11.1).
func (q SIP) request(s *session) (*sip.Request, error) {
	local, err := netip.ParseAddrPort(s.LocalAddr().String())
	if err != nil {
		return nil, fmt.Errorf("%w: own address: %w", ErrInconclusive, err)
	}
	host := func(a netip.Addr) string {
		return strings.TrimSuffix(netip.AddrPortFrom(a.WithZone(""), 0).String(), ":0")
	}
	server := s.target.Server
	to := sip.Uri{Scheme: "sip", Host: host(server.Addr()), Port: int(server.Port())}
	from := sip.Uri{Scheme: "sip", User: "lvsha", Host: host(local.Addr())}
	for _, part := range []struct {
		text string
		uri  *sip.Uri
	}{{q.URI, &to}, {q.From, &from}} {
		if part.text != "" {
			*part.uri = sip.Uri{}
			if err := sip.ParseUri(part.text, part.uri); err != nil {
				return nil, err
			}
		}
	}
	out := sip.NewRequest(sip.OPTIONS, to)
	via := sip.NewParams()
	via.Add("branch", sip.GenerateBranch())
	via.Add("rport", "")
	tag := sip.NewParams()
	tag.Add("tag", sip.GenerateTagN(16))
	id := sip.CallIDHeader(sip.GenerateTagN(24))
	hops := sip.MaxForwardsHeader(70)
	out.AppendHeader(&sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(q.Transport), Host: host(local.Addr()), Port: int(local.Port()), Params: via})
	out.AppendHeader(&sip.FromHeader{Address: from, Params: tag})
	out.AppendHeader(&sip.ToHeader{Address: to})
	out.AppendHeader(&id)
	out.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.OPTIONS})
	out.AppendHeader(&hops)
	out.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: "lvsha", Host: host(local.Addr()), Port: int(local.Port())}})
	out.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
	out.AppendHeader(sip.NewHeader("User-Agent", "lvsha"))
	out.SetBody(nil)
	return out, nil
}

const (
	// sipPacket is the longest answer, in bytes, that is read of a datagram.
	sipPacket = 4 << 10
	// sipHeaders bounds the lines of a header.
	sipHeaders = 200
)

// sipResponse is what counts of an answer: the first line, and what tells whose it is.
type sipResponse struct {
	code   int
	reason string
	callID string
	length int // of the body
}

// sipAnswer is the final answer to a request. What belongs to none is passed over.
func sipAnswer(s *session, packets bool, request *sip.Request) (*sipResponse, error) {
	in := s.in
	buf := make([]byte, sipPacket)
	for {
		if packets {
			n, err := s.Read(buf)
			if err != nil {
				return nil, err
			}
			in = bufio.NewReaderSize(bytes.NewReader(buf[:n]), 16)
		}
		said, err := readSIP(in)
		if err != nil && packets {
			s.strange = true // it may be anybody's
			continue
		}
		if err != nil {
			return nil, err
		}
		if said.code >= 200 && said.callID == request.CallID().Value() {
			return said, nil
		}
		s.others = s.others || said.callID != request.CallID().Value()
		if _, err := in.Discard(said.length); err != nil && !packets {
			return nil, err
		}
	}
}

// errSIP is the reason for what is no answer of SIP.
var errSIP = errors.New("malformed answer")

// readSIP reads an answer up to its body (RFC 3261, 7.2).
func readSIP(r *bufio.Reader) (*sipResponse, error) {
	line, err := "", error(nil)
	for blanks := 0; line == "" && blanks < sipHeaders; blanks++ { // they keep a connection alive
		if line, err = readLine(r, longestLine); err != nil {
			return nil, err
		}
	}
	version, rest, _ := strings.Cut(line, " ")
	number, reason, _ := strings.Cut(rest, " ")
	out := &sipResponse{reason: reason}
	if out.code, err = strconv.Atoi(number); err != nil || len(number) != 3 || !strings.EqualFold(version, "SIP/2.0") {
		return nil, errSIP
	}
	for range sipHeaders {
		line, err := readLine(r, longestLine)
		if err != nil {
			return nil, err
		}
		if line == "" {
			return out, nil
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "call-id", "i":
			out.callID = value
		case "content-length", "l":
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return nil, errSIP
			}
			if n > sessionLimit {
				return nil, errTooLong
			}
			out.length = int(n)
		}
	}
	return nil, errTooLong
}
