package auth

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

const keySize = 32 // bytes: AES-256

// What is kept encrypted, so that nothing can be put in another's place.
const (
	KindSecret   = "secret"
	KindRegistry = "registry"

	kindCAKey      = "ca key"
	kindSecretsKey = "secrets key"
	kindMasterKey  = "master key"
)

// SecretContext binds an encrypted or sealed value to what it is: kind, tenant, name and version have to be the same when
// it is opened. For registry credentials the name is the registry.
func SecretContext(kind, tenant, name string, version uint64) []byte {
	var b []byte
	for _, part := range []string{"argosy", kind, tenant, name, strconv.FormatUint(version, 10)} {
		b = strconv.AppendInt(b, int64(len(part)), 10)
		b = append(b, ':')
		b = append(b, part...)
	}
	return b
}

// Keyring encrypts what is kept in the store.
type Keyring struct {
	aead cipher.AEAD
	// marks is the key of fingerprints, made from the other.
	marks []byte
}

func newKeyring(key []byte) (*Keyring, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("a key has %d bytes instead of %d", len(key), keySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("using a key: %w", err)
	}
	// Nonces are random: good for 2^32 values, and secrets are written by people.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("using a key: %w", err)
	}
	marks := hmac.New(sha256.New, key)
	marks.Write([]byte("argosy fingerprints"))
	return &Keyring{aead: aead, marks: marks.Sum(nil)}, nil
}

// Fingerprint tells whether two values are the same without telling anything else of them to who has not the key: 32 bytes.
func (k *Keyring) Fingerprint(value Secret) []byte {
	h := hmac.New(sha256.New, k.marks)
	h.Write(value.Reveal())
	return h.Sum(nil)
}

// Encrypt hides a value. The context, see [SecretContext], is needed again to decrypt it.
func (k *Keyring) Encrypt(value Secret, context []byte) []byte {
	return k.aead.Seal(nil, nil, value.Reveal(), context)
}

// Decrypt returns what was encrypted under the same context.
func (k *Keyring) Decrypt(encrypted, context []byte) (Secret, error) {
	b, err := k.aead.Open(nil, nil, encrypted, context)
	if err != nil {
		return Secret{}, errors.New("an encrypted value was changed, or encrypted with another key")
	}
	return NewSecret(b), nil
}

func newKey() ([]byte, error) {
	key := make([]byte, keySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return key, nil
}

// readKeyFile reads the servers' key. Others than its owner must not be able to.
func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the servers' key: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the servers' key: %w", err)
	}
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the servers' key in %s can be read by others (%v): run `chmod 600 %s`, and think about who may have", path, st.Mode(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 4*keySize))
	if err != nil {
		return nil, fmt.Errorf("reading the servers' key: %w", err)
	}
	key, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("%s does not hold the servers' key (%d hexadecimal digits): copy it from another server or a backup", path, 2*keySize)
	}
	return key, nil
}

// createKeyFile makes the servers' key, or reads it where there is one.
func createKeyFile(path string) ([]byte, error) {
	if _, err := os.Lstat(path); err == nil {
		return readKeyFile(path)
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	if err := writeFile(path, []byte(hex.EncodeToString(key)+"\n")); err != nil {
		return nil, fmt.Errorf("writing the servers' key: %w", err)
	}
	return key, nil
}

// writeFile replaces a file as a whole or not at all, readable by its owner only.
func writeFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
