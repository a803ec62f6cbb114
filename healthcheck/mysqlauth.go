package healthcheck

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"

	"filippo.io/edwards25519"
)

// mysqlLongestKey bounds, in bytes, a server's RSA key in PEM: what a larger one costs
// grows with the cube.
const mysqlLongestKey = 4 << 10

// errMySQLClear is the reason for a server that wants the password as it is.
var errMySQLClear = errors.New("server wants the password in clear: tls = \"on\", or plaintext = true, lets it have that")

// proof is what proves the password to a plugin of the server.
func (d *mysqlDialogue) proof(plugin string, salt []byte) ([]byte, error) {
	password := []byte(d.sql.Password)
	switch plugin {
	case "mysql_native_password":
		if len(salt) < 20 {
			return nil, errMySQL
		}
		return nativeProof(salt[:20], password), nil
	case "caching_sha2_password":
		return sha2Proof(salt, password), nil
	case "sha256_password":
		switch {
		case len(password) == 0:
			return []byte{0}, nil
		case d.secured():
			return append(password, 0), nil
		}
		return []byte{1}, nil // asks for the server's key
	case "mysql_clear_password":
		if !d.secured() && !d.sql.Plaintext {
			return nil, errMySQLClear
		}
		return append(password, 0), nil
	case "client_ed25519":
		if len(salt) != 32 {
			return nil, errMySQL
		}
		return ed25519Proof(salt, password)
	}
	return nil, d.unlike("server wants a login by %q, which is not known", printable(plugin))
}

// nativeProof is that of MySQL 4.1: SHA1(password) XOR SHA1(salt, SHA1(SHA1(password))).
func nativeProof(salt, password []byte) []byte {
	if len(password) == 0 {
		return nil
	}
	once := sha1.Sum(password)
	twice := sha1.Sum(once[:])
	out := sha1.Sum(append(bytes.Clone(salt), twice[:]...))
	for i := range out {
		out[i] ^= once[i]
	}
	return out[:]
}

// sha2Proof is that of MySQL 8: SHA256(password) XOR SHA256(SHA256(SHA256(password)), salt).
func sha2Proof(salt, password []byte) []byte {
	if len(password) == 0 {
		return nil
	}
	once := sha256.Sum256(password)
	twice := sha256.Sum256(once[:])
	out := sha256.Sum256(append(twice[:], salt...))
	for i := range out {
		out[i] ^= once[i]
	}
	return out[:]
}

// ed25519Proof is MariaDB's: a signature of the salt with a key made of the password
// (plugin/auth_ed25519 of its source).
func ed25519Proof(salt, password []byte) ([]byte, error) {
	key := sha512.Sum512(password)
	s, err := edwards25519.NewScalar().SetBytesWithClamping(key[:32])
	if err != nil {
		return nil, err
	}
	public := new(edwards25519.Point).ScalarBaseMult(s).Bytes()
	digest := sha512.Sum512(append(bytes.Clone(key[32:]), salt...))
	r, err := edwards25519.NewScalar().SetUniformBytes(digest[:])
	if err != nil {
		return nil, err
	}
	out := new(edwards25519.Point).ScalarBaseMult(r).Bytes()
	digest = sha512.Sum512(append(append(bytes.Clone(out), public...), salt...))
	k, err := edwards25519.NewScalar().SetUniformBytes(digest[:])
	if err != nil {
		return nil, err
	}
	return append(out, k.MultiplyAdd(k, s, r).Bytes()...), nil
}

// proven goes through what follows the proof, until the server has accepted it.
func (d *mysqlDialogue) proven(plugin string, salt []byte) error {
	for switched, asked := false, false; ; {
		b, err := d.packet("login")
		if err != nil {
			return err
		}
		switch b[0] {
		case mysqlOK:
			return nil
		case mysqlEOF:
			if switched {
				return d.reason(errMySQLOrder)
			}
			switched = true
			if len(b) == 1 {
				return errors.New("server wants a login of before MySQL 4.1, which is not safe")
			}
			name, fresh, _ := bytes.Cut(b[1:], []byte{0})
			plugin, salt = string(name), bytes.TrimSuffix(fresh, []byte{0})
			proof, err := d.proof(plugin, salt)
			if errors.Is(err, errMySQL) {
				return d.reason(err)
			}
			if err != nil {
				return err
			}
			if err := d.send(proof); err != nil {
				return err
			}
		case mysqlMore:
			if plugin == "caching_sha2_password" && len(b) == 2 && b[1] == mysqlFastLogin {
				continue
			}
			if asked || plugin != "caching_sha2_password" && plugin != "sha256_password" {
				return d.reason(errMySQLOrder)
			}
			asked = true
			if err := d.whole(plugin, salt, b[1:]); err != nil {
				return err
			}
		default:
			return d.reason(errMySQLOrder)
		}
	}
}

// whole sends the password itself, which a server wants that has no digest of it: over TLS,
// or encrypted by the server's key.
func (d *mysqlDialogue) whole(plugin string, salt, said []byte) error {
	password := append([]byte(d.sql.Password), 0)
	if plugin == "caching_sha2_password" {
		if len(said) != 1 || said[0] != mysqlFullLogin {
			return d.reason(errMySQLOrder)
		}
		if d.secured() {
			return d.send(password)
		}
		if err := d.send([]byte{2}); err != nil {
			return err
		}
		b, err := d.packet("login")
		if err != nil {
			return err
		}
		if b[0] != mysqlMore {
			return d.reason(errMySQLOrder)
		}
		said = b[1:]
	}
	if len(said) > mysqlLongestKey {
		return d.reason(errTooLong)
	}
	block, _ := pem.Decode(said)
	if block == nil || len(salt) == 0 {
		return d.reason(errMySQL)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return d.reason(err)
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return d.reason(errMySQL)
	}
	for i := range password {
		password[i] ^= salt[i%len(salt)]
	}
	secret, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, key, password, nil)
	if err != nil {
		return d.reason(err)
	}
	return d.send(secret)
}
