package healthcheck

import (
	"encoding/binary"
	"errors"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// What an LDAP server says is read here and not by the library of LDAP: that reads in a
// goroutine of its own, where a panic ends the process, and decodes what is nested
// thousands deep.

// The operations of LDAP (RFC 4511, appendix B), by the tags of their BER.
const (
	ldapBindResponse     = 0x61
	ldapEntry            = 0x64
	ldapSearchDone       = 0x65
	ldapReference        = 0x73
	ldapExtendedResponse = 0x78

	ldapBindRequest     = 0
	ldapSearchRequest   = 3
	ldapExtendedRequest = 23
)

// startTLSName is the name of the request for TLS (RFC 4511, 4.14.1).
const startTLSName = "1.3.6.1.4.1.1466.20037"

// errBER is the reason for BER that is none, or not LDAP's.
var errBER = errors.New("malformed message")

// ldapDialogue numbers the requests of a session.
type ldapDialogue struct {
	*session
	id int64
}

// startTLS asks for TLS.
func (d *ldapDialogue) startTLS() error {
	d.doing = "negotiating TLS"
	request := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldapExtendedRequest, nil, "")
	request.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, startTLSName, ""))
	return d.ask("StartTLS", request, ldapExtendedResponse, nil)
}

// bind logs in with a password.
func (d *ldapDialogue) bind(user, password string) error {
	d.doing = "binding"
	request := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldapBindRequest, nil, "")
	request.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, 3, ""))
	request.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, user, ""))
	request.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, password, ""))
	return d.ask("bind", request, ldapBindResponse, nil)
}

// search looks the entry up, and returns how many were found and the values of the first
// one's attribute.
func (d *ldapDialogue) search(q Directory) (n int, values []string, err error) {
	d.doing = "waiting for the entry"
	filter, err := ldap.CompileFilter(q.Filter)
	if err != nil {
		return 0, nil, err
	}
	attribute := q.Attribute
	if attribute == "" {
		attribute = "1.1" // none (RFC 4511, 4.5.1.8)
	}
	request := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldapSearchRequest, nil, "")
	request.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, q.DN, ""))
	request.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, ldap.ScopeBaseObject, ""))
	request.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, ldap.NeverDerefAliases, ""))
	request.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, 2, "")) // entries
	request.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, 0, "")) // seconds
	request.AppendChild(ber.NewBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, false, ""))
	request.AppendChild(filter)
	list := ber.NewSequence("")
	list.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, attribute, ""))
	request.AppendChild(list)
	err = d.ask("search", request, ldapSearchDone, func(entry []byte) error {
		n++
		if n > 1 || q.Attribute == "" {
			return nil
		}
		values, err = ldapValues(entry, q.Attribute)
		return err
	})
	return n, values, err
}

// ask sends a request and reads answers up to the one with a tag, which has to be a
// success. Entries before it go to entry. what names it in the reason.
func (d *ldapDialogue) ask(what string, request *ber.Packet, tag byte, entry func([]byte) error) error {
	d.id++
	message := ber.NewSequence("")
	message.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, d.id, ""))
	message.AppendChild(request)
	if _, err := d.Write(message.Bytes()); err != nil {
		return d.reason(err)
	}
	for {
		id, op, err := d.message()
		if err != nil {
			return d.reason(err)
		}
		switch {
		case id == 0 && op.tag == ldapExtendedResponse: // a notice of disconnection (RFC 4511, 4.4.1)
			_, why, err := ldapResult(op.content)
			if err != nil {
				return d.reason(err)
			}
			return d.refused("connection", why)
		case id != d.id:
			return d.reason(errBER)
		case op.tag == tag:
			code, why, err := ldapResult(op.content)
			if err != nil {
				return d.reason(err)
			}
			if code != ldap.LDAPResultSuccess {
				return d.refused(what, why)
			}
			return nil
		case op.tag == ldapEntry && entry != nil:
			if err := entry(op.content); err != nil {
				return d.reason(err)
			}
		case op.tag == ldapReference && entry != nil:
		default:
			return d.reason(errBER)
		}
	}
}

// message reads a message: its number and its operation.
func (d *ldapDialogue) message() (id int64, op element, err error) {
	head, err := d.take(2)
	if err != nil {
		return 0, element{}, err
	}
	if head[0] != 0x30 {
		return 0, element{}, errBER
	}
	n := int(head[1])
	if n&0x80 != 0 {
		long, err := d.take(n & 0x7f)
		if err != nil {
			return 0, element{}, err
		}
		if n, err = longLength(long); err != nil {
			return 0, element{}, err
		}
	}
	rest, err := d.take(n)
	if err != nil {
		return 0, element{}, err
	}
	number, rest, err := nextElement(rest)
	if err != nil || number.tag != 0x02 {
		return 0, element{}, errBER
	}
	if id, err = number.integer(); err != nil {
		return 0, element{}, err
	}
	op, _, err = nextElement(rest)
	return id, op, err
}

// ldapResult is an LDAPResult (RFC 4511, 4.1.9): its code, and the code and the server's
// message in words.
func ldapResult(b []byte) (code uint16, why string, err error) {
	var part [3]element
	for i := range part {
		if part[i], b, err = nextElement(b); err != nil {
			return 0, "", err
		}
	}
	n, err := part[0].integer()
	if err != nil || n < 0 || n > 0xffff {
		return 0, "", errBER
	}
	why = strings.ToLower(ldap.LDAPResultCodeMap[uint16(n)])
	if why == "" {
		why = "an unknown result"
	}
	if said := part[2].content; len(said) > 0 {
		why += ": " + string(said)
	}
	return uint16(n), why, nil
}

// ldapValues are the values of an attribute of an entry (RFC 4511, 4.5.2).
func ldapValues(entry []byte, attribute string) (out []string, err error) {
	_, rest, err := nextElement(entry) // the name
	if err != nil {
		return nil, err
	}
	list, _, err := nextElement(rest)
	if err != nil {
		return nil, err
	}
	for b := list.content; len(b) > 0; {
		var pair, name, set element
		if pair, b, err = nextElement(b); err != nil {
			return nil, err
		}
		if name, rest, err = nextElement(pair.content); err != nil {
			return nil, err
		}
		if set, _, err = nextElement(rest); err != nil {
			return nil, err
		}
		if !strings.EqualFold(string(name.content), attribute) {
			continue
		}
		for v := set.content; len(v) > 0; {
			var value element
			if value, v, err = nextElement(v); err != nil {
				return nil, err
			}
			out = append(out, string(value.content))
		}
	}
	return out, nil
}

// element is one of BER, with a tag of one octet and a definite length: LDAP has no
// others (RFC 4511, 5.1).
type element struct {
	tag     byte
	content []byte
}

// nextElement cuts an element off.
func nextElement(b []byte) (e element, rest []byte, err error) {
	if len(b) < 2 || b[0]&0x1f == 0x1f {
		return element{}, nil, errBER
	}
	n, begin := int(b[1]), 2
	if n&0x80 != 0 {
		begin += n & 0x7f
		if begin > len(b) {
			return element{}, nil, errBER
		}
		if n, err = longLength(b[2:begin]); err != nil {
			return element{}, nil, err
		}
	}
	if n > len(b)-begin {
		return element{}, nil, errBER
	}
	return element{b[0], b[begin : begin+n]}, b[begin+n:], nil
}

// longLength is a length of several octets.
func longLength(b []byte) (int, error) {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) > 4 {
		return 0, errTooLong
	}
	var wide [4]byte
	copy(wide[4-len(b):], b)
	n := binary.BigEndian.Uint32(wide[:])
	if n > sessionLimit {
		return 0, errTooLong
	}
	return int(n), nil
}

// integer is what an INTEGER or ENUMERATED says.
func (e element) integer() (int64, error) {
	if len(e.content) == 0 || len(e.content) > 8 {
		return 0, errBER
	}
	n := int64(int8(e.content[0]))
	for _, octet := range e.content[1:] {
		n = n<<8 | int64(octet)
	}
	return n, nil
}
