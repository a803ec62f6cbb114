package peer

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// pinPrefix names the kind of key, should there ever be another.
const pinPrefix = "ed25519:"

// pemType is that of PKCS #8.
const pemType = "PRIVATE KEY"

// Pin is the public key of a director. The zero value is none.
type Pin [ed25519.PublicKeySize]byte

// PinOf is the public part of a key.
func PinOf(key ed25519.PrivateKey) Pin { return Pin(key.Public().(ed25519.PublicKey)) }

// ParsePin reads what String writes.
func ParsePin(text string) (Pin, error) {
	digits, ok := strings.CutPrefix(text, pinPrefix)
	if !ok {
		return Pin{}, fmt.Errorf("want %q and 43 characters, as lvsha key prints it", pinPrefix)
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(digits)
	if err != nil || len(b) != len(Pin{}) {
		return Pin{}, fmt.Errorf("want 43 characters of base64 behind %q, as lvsha key prints them", pinPrefix)
	}
	if p := Pin(b); p.String() == text {
		return p, nil
	}
	return Pin{}, errors.New("is no key, as lvsha key prints it")
}

// String is the pin as it stands in the file.
func (p Pin) String() string {
	if p.IsZero() {
		return ""
	}
	return pinPrefix + base64.RawStdEncoding.EncodeToString(p[:])
}

// IsZero says whether there is none.
func (p Pin) IsZero() bool { return p == Pin{} }

// equal takes the same time whatever the pins are.
func (p Pin) equal(q Pin) bool { return subtle.ConstantTimeCompare(p[:], q[:]) == 1 }

// NewKey makes a private key.
func NewKey() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return key, nil
}

// EncodeKey is a private key as it stands in its file: PKCS #8 in PEM.
func EncodeKey(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// ParseKey reads what EncodeKey writes. No error shows any of it.
func ParseKey(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return nil, errors.New("has no private key in PEM, as lvsha key makes it")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("has a private key that cannot be read")
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("has a private key of another kind than ed25519")
	}
	return key, nil
}
