package healthcheck

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// The protocol of MySQL and MariaDB, as far as a check needs it. A library of it takes a
// server's word for how many columns an answer has, and reserves memory for them: 2^40 end
// the process.

// What a client can do, as it says in the handshake.
const (
	mysqlLongPassword  = 1 << 0
	mysqlWithDatabase  = 1 << 3
	mysqlProtocol41    = 1 << 9
	mysqlTLS           = 1 << 11
	mysqlTransactions  = 1 << 13
	mysqlSecure        = 1 << 15
	mysqlPlugins       = 1 << 19
	mysqlLongAuthData  = 1 << 21
	mysqlCharset       = 45 // utf8mb4
	mysqlCommandQuery  = 3
	mysqlCommandPing   = 14
	mysqlOK            = 0x00
	mysqlMore          = 0x01
	mysqlEOF           = 0xfe
	mysqlErr           = 0xff
	mysqlNull          = 0xfb
	mysqlFastLogin     = 3
	mysqlFullLogin     = 4
	mysqlMostColumns   = 4096 // the most that a table has
	mysqlLongestAnswer = 64 << 10
)

var (
	// errMySQL is the reason for a packet that is malformed.
	errMySQL = errors.New("malformed packet")
	// errMySQLEmpty is a packet of another kind than what belongs there.
	errMySQLOrder = errors.New("unexpected packet")
)

// mysqlDialogue is a session of MySQL.
type mysqlDialogue struct {
	*session
	sql      SQL
	sequence byte
}

// packet reads a packet, which is never empty. One of an error is the server's refusal of
// what.
func (d *mysqlDialogue) packet(what string) ([]byte, error) {
	head, err := d.take(4)
	if err != nil {
		return nil, d.reason(err)
	}
	n := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	d.sequence = head[3] + 1
	switch {
	case n == 0:
		return nil, d.reason(errMySQL)
	case n > mysqlLongestAnswer:
		return nil, d.reason(errTooLong)
	}
	b, err := d.take(n)
	if err != nil {
		return nil, d.reason(err)
	}
	if b[0] == mysqlErr {
		return nil, d.no(what, b[1:])
	}
	return b, nil
}

// no is the reason of an error packet.
func (d *mysqlDialogue) no(what string, b []byte) error {
	if len(b) < 2 {
		return d.reason(errMySQL)
	}
	code, text := binary.LittleEndian.Uint16(b), b[2:]
	if len(text) >= 6 && text[0] == '#' {
		text = text[6:] // the state
	}
	return d.refused(what, fmt.Sprintf("%d %s", code, text))
}

// send sends a packet.
func (d *mysqlDialogue) send(b []byte) error {
	n := len(b)
	_, err := d.Write(append([]byte{byte(n), byte(n >> 8), byte(n >> 16), d.sequence}, b...))
	d.sequence++
	return d.reason(err)
}

// command begins a command.
func (d *mysqlDialogue) command(code byte, text string) error {
	d.sequence = 0
	return d.send(append([]byte{code}, text...))
}

// ping wants an answer.
func (d *mysqlDialogue) ping() error {
	if err := d.command(mysqlCommandPing, ""); err != nil {
		return err
	}
	b, err := d.packet("ping")
	if err == nil && b[0] != mysqlOK {
		err = d.reason(errMySQLOrder)
	}
	return err
}

// query is the first value of the first row of what a query answers.
func (d *mysqlDialogue) query(text string) (string, error) {
	if err := d.command(mysqlCommandQuery, text); err != nil {
		return "", err
	}
	b, err := d.packet("query")
	if err != nil {
		return "", err
	}
	if b[0] == mysqlOK {
		return "", errNoRow // it is a statement without an answer
	}
	columns, rest, ok := lengthEncoded(b)
	switch {
	case !ok || len(rest) > 0 || columns == 0:
		return "", d.reason(errMySQL)
	case columns > mysqlMostColumns:
		return "", d.reason(errTooLong)
	}
	for range columns {
		if _, err := d.packet("query"); err != nil {
			return "", err
		}
	}
	if b, err = d.packet("query"); err != nil {
		return "", err
	}
	if b[0] != mysqlEOF || len(b) > 5 {
		return "", d.reason(errMySQLOrder)
	}
	if b, err = d.packet("query"); err != nil {
		return "", err
	}
	switch {
	case b[0] == mysqlEOF && len(b) <= 5:
		return "", errNoRow
	case b[0] == mysqlNull:
		return "NULL", nil
	}
	// The other rows go with the connection.
	n, rest, ok := lengthEncoded(b)
	if !ok || n > uint64(len(rest)) {
		return "", d.reason(errMySQL)
	}
	return string(rest[:n]), nil
}

// lengthEncoded reads an integer of 1 to 9 bytes.
func lengthEncoded(b []byte) (n uint64, rest []byte, ok bool) {
	size := map[byte]int{0xfc: 2, 0xfd: 3, 0xfe: 8}[b[0]]
	switch {
	case b[0] < mysqlNull:
		return uint64(b[0]), b[1:], true
	case size == 0 || len(b) < 1+size:
		return 0, nil, false
	}
	var wide [8]byte
	copy(wide[:], b[1:1+size])
	return binary.LittleEndian.Uint64(wide[:]), b[1+size:], true
}

// mysqlGreeting is what a server says first (protocol version 10).
type mysqlGreeting struct {
	capabilities uint32
	salt         []byte
	plugin       string
}

// parseMySQLGreeting reads a greeting.
func parseMySQLGreeting(b []byte) (out mysqlGreeting, ok bool) {
	version := bytes.IndexByte(b, 0)
	// The version of the protocol and of the server; the connection, a part of the salt, 0,
	// and the lower half of the capabilities.
	if b[0] != 10 || version < 0 || len(b) < version+1+4+8+1+2 {
		return out, false
	}
	b = b[version+1+4:]
	out.salt = append(out.salt, b[:8]...)
	out.capabilities = uint32(binary.LittleEndian.Uint16(b[9:]))
	b = b[11:]
	// The character set, the status, the upper half, the length of the salt, and nothing.
	if len(b) < 1+2+2+1+10 {
		return out, true
	}
	out.capabilities |= uint32(binary.LittleEndian.Uint16(b[3:])) << 16
	rest := max(13, int(b[5])-8)
	b = b[16:]
	if len(b) < rest {
		return out, len(b) == 0
	}
	out.salt = append(out.salt, bytes.TrimSuffix(b[:rest], []byte{0})...)
	plugin, _, _ := bytes.Cut(b[rest:], []byte{0})
	out.plugin = string(plugin)
	return out, true
}

// login is the handshake, with TLS if that is wanted.
func (d *mysqlDialogue) login(ctx context.Context, c *tlsClient) error {
	first, err := d.packet("login")
	if err != nil {
		return err
	}
	greeting, ok := parseMySQLGreeting(first)
	if !ok || greeting.capabilities&mysqlProtocol41 == 0 {
		return d.reason(errMySQL)
	}
	mine := uint32(mysqlLongPassword | mysqlProtocol41 | mysqlTransactions | mysqlSecure | mysqlPlugins | mysqlLongAuthData)
	if d.sql.Database != "" {
		mine |= mysqlWithDatabase
	}
	offered := greeting.capabilities&mysqlTLS != 0
	switch {
	case d.sql.Security == tlsOn && !offered:
		return errNoTLS
	case d.sql.Security == tlsOn, d.sql.Security == tlsOptional && offered:
		mine |= mysqlTLS
	}
	mine &= greeting.capabilities
	head := binary.LittleEndian.AppendUint32(nil, mine)
	head = binary.LittleEndian.AppendUint32(head, mysqlLongestAnswer)
	head = append(head, mysqlCharset)
	head = append(head, make([]byte, 23)...)
	if mine&mysqlTLS != 0 {
		if err := d.send(head); err != nil {
			return err
		}
		if err := d.secure(ctx, c); err != nil {
			return err
		}
	}
	d.doing = "logging in"
	plugin := greeting.plugin
	if plugin == "" || greeting.capabilities&mysqlPlugins == 0 {
		plugin = "mysql_native_password"
	}
	proof, err := d.proof(plugin, greeting.salt)
	if err != nil {
		// The user may have another one than the server prefers: it will say so.
		plugin, proof = "mysql_native_password", nil
	}
	b := append(head, d.sql.User...)
	b = append(b, 0, byte(len(proof)))
	b = append(b, proof...)
	if mine&mysqlWithDatabase != 0 {
		b = append(append(b, d.sql.Database...), 0)
	}
	if mine&mysqlPlugins != 0 {
		b = append(append(b, plugin...), 0)
	}
	if err := d.send(b); err != nil {
		return err
	}
	return d.proven(plugin, greeting.salt)
}
