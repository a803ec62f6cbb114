package healthcheck

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"fmt"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2869"
)

// RADIUS wants a user to be accepted, or the server to say how it is (RFC 5997)
// if there is none.
type RADIUS struct {
	// Secret is shared with the server.
	Secret Secret `key:"secret" required:"the secret that is shared with the server"`
	// User and Password are to be accepted by PAP.
	User     string `key:"user"`
	Password Secret `key:"password"`
}

var (
	_ Question  = RADIUS{}
	_ Validator = RADIUS{}
)

// Kind is "radius".
func (RADIUS) Kind() string { return "radius" }

// String is the user.
func (q RADIUS) String() string { return q.User }

// Validate is part of Validator.
func (q RADIUS) Validate() (out []Problem) {
	if q.User == "" && q.Password != "" {
		out = append(out, Problem{Key: "password", Message: "needs user beside it"})
	}
	if len(q.User) > 253 {
		out = append(out, Problem{Key: "user", Message: "want at most 253 bytes"})
	}
	if len(q.Password) > 128 {
		out = append(out, Problem{Key: "password", Message: "want at most 128 bytes (RFC 2865)"})
	}
	return out
}

// Prepare is part of Question.
func (q RADIUS) Prepare() (ProbeFunc, error) {
	if q.Secret == "" {
		return nil, errors.New("no secret")
	}
	return q.probe, nil
}

// probe sends one request: a lost packet is a failure, and Fall is there for
// that.
func (q RADIUS) probe(ctx context.Context, t Target) (Answer, error) {
	request, err := q.request()
	if err != nil {
		return Answer{}, err
	}
	asked, err := request.Encode()
	if err != nil {
		return Answer{}, err
	}
	s, err := t.open(ctx, "udp", "RADIUS", nil)
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.secrets, s.doing = []Secret{q.Secret, q.Password}, "waiting for the answer"
	if _, err := s.Write(asked); err != nil {
		return Answer{}, s.reason(err)
	}
	buf, n := make([]byte, radius.MaxPacketLength), 0
	var response *radius.Packet
	for response == nil {
		if n, err = s.Read(buf); err != nil {
			return Answer{}, s.packetReason(err)
		}
		switch said, err := radius.Parse(buf[:n], []byte(q.Secret)); {
		case err != nil:
			s.strange = true
		case said.Identifier != request.Identifier:
			s.others = true
		default:
			response = said
		}
	}
	switch {
	case !radius.IsAuthenticResponse(buf[:n], asked, []byte(q.Secret)):
		return Answer{}, errors.New("answer is not authentic: the secret may be another")
	case response.Code == radius.CodeAccessAccept:
		return s.answer("%s", response.Code), nil
	case response.Code == radius.CodeAccountingResponse && request.Code == radius.CodeStatusServer:
		return s.answer("%s", response.Code), nil
	case response.Code == radius.CodeAccessReject:
		return Answer{}, s.refused("login", rfc2865.ReplyMessage_GetString(response))
	}
	return Answer{}, fmt.Errorf("answer is %s, want %s", response.Code, radius.CodeAccessAccept)
}

// request is Access-Request or Status-Server.
func (q RADIUS) request() (*radius.Packet, error) {
	out := radius.New(radius.CodeStatusServer, []byte(q.Secret))
	errs := []error{rfc2865.NASIdentifier_SetString(out, "lvsha")}
	if q.User != "" {
		out.Code = radius.CodeAccessRequest
		errs = append(errs, rfc2865.UserName_SetString(out, q.User), rfc2865.UserPassword_SetString(out, string(q.Password)))
	}
	// The Message-Authenticator (RFC 3579, 3.2) is computed with zeros in its place.
	errs = append(errs, rfc2869.MessageAuthenticator_Set(out, make([]byte, md5.Size)))
	b, err := out.MarshalBinary()
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	sum := hmac.New(md5.New, []byte(q.Secret))
	sum.Write(b)
	return out, rfc2869.MessageAuthenticator_Set(out, sum.Sum(nil))
}

// packetReason is reason where a server that does not answer has not been heard
// of at all.
func (s *session) packetReason(err error) error {
	err = s.reason(err)
	var late *timeoutError
	if !errors.As(err, &late) || s.LocalAddr().Network() != "udp" {
		return err
	}
	switch {
	case s.others && !s.strange:
		late.heard = "only answers to other questions were heard"
	case s.strange:
		late.heard = "only answers that are not " + s.protocol + " were heard"
	case len(s.head) == 0:
		late.silent = true
	}
	return err
}
