package auth

import (
	"crypto/ecdh"
	"crypto/hpke"
	"errors"
	"fmt"
)

// Values are sealed to a machine with HPKE (RFC 9180): X25519, HKDF-SHA256, AES-256-GCM, one message for each context.

func sealingSuite() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), hpke.AES256GCM()
}

// NewSealingKey makes the key pair that secrets for a machine are sealed to. The public half is X25519, 32 bytes.
func NewSealingKey() (private Secret, public []byte, err error) {
	kem, _, _ := sealingSuite()
	key, err := kem.GenerateKey()
	if err != nil {
		return Secret{}, nil, fmt.Errorf("making a sealing key: %w", err)
	}
	raw, err := key.Bytes()
	if err != nil {
		return Secret{}, nil, fmt.Errorf("making a sealing key: %w", err)
	}
	return NewSecret(raw), key.PublicKey().Bytes(), nil
}

// CheckSealingKey says whether secrets can be sealed to a public key.
func CheckSealingKey(public []byte) error {
	kem, _, _ := sealingSuite()
	if _, err := kem.NewPublicKey(public); err != nil {
		return fmt.Errorf("the machine's sealing key is not an X25519 public key: %w", err)
	}
	return nil
}

// SealTo hides a value from everybody but the holder of the private key. The context, see [SecretContext], is needed
// again to open it.
func SealTo(public []byte, value Secret, context []byte) ([]byte, error) {
	kem, kdf, aead := sealingSuite()
	key, err := kem.NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("the machine's sealing key is not an X25519 public key: %w", err)
	}
	sealed, err := hpke.Seal(key, kdf, aead, context, value.Reveal())
	if err != nil {
		return nil, fmt.Errorf("sealing a secret: %w", err)
	}
	return sealed, nil
}

// OpenSealed returns what was sealed to this key under the same context.
func OpenSealed(private Secret, sealed, context []byte) (Secret, error) {
	kem, kdf, aead := sealingSuite()
	key, err := kem.NewPrivateKey(private.Reveal())
	if err != nil {
		return Secret{}, errors.New("this machine's sealing key is damaged: remove the machine from the cluster and join it again")
	}
	value, err := hpke.Open(key, kdf, aead, context, sealed)
	if err != nil {
		return Secret{}, errors.New("a sealed secret was changed on the way, or sealed to another machine's key")
	}
	return NewSecret(value), nil
}

// PublicSealingKey is the public half of a private sealing key.
func PublicSealingKey(private Secret) ([]byte, error) {
	kem, _, _ := sealingSuite()
	key, err := kem.NewPrivateKey(private.Reveal())
	if err != nil {
		return nil, errors.New("this machine's sealing key is damaged: remove the machine from the cluster and join it again")
	}
	return key.PublicKey().Bytes(), nil
}
