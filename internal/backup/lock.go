package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

const (
	// scryptWork is the logarithm of how much work a passphrase costs: 128 MiB, and half a second to some. mostWork is what a
	// file may ask for.
	scryptWork = 17
	mostWork   = 18
	// maxRecipients is how many keys may open a backup.
	maxRecipients = 16
	// maxKeyFile bounds a file of keys, in bytes.
	maxKeyFile = 64 << 10
	// maxLocked bounds a key that is encrypted with a passphrase, in bytes.
	maxLocked = 4 << 10
	// LeastPassphrase is how many bytes a passphrase has at least: it may be tried for ever, on whatever hardware.
	LeastPassphrase = 12
)

// Lock says what opens a backup. It is no secret.
type Lock struct {
	// Recipients are public keys, `age1…`. Any one's secret half opens the backup.
	Recipients []string
	// Locked is the secret half of the only recipient, encrypted with a passphrase; nil where there is no passphrase.
	Locked []byte
}

// ForRecipients is the lock that the secret halves of public keys open.
func ForRecipients(keys []string) (Lock, error) {
	l := Lock{Recipients: keys}
	_, err := l.parse()
	return l, err
}

// ForPassphrase makes the lock that a passphrase opens. It takes about a second, on purpose.
func ForPassphrase(passphrase []byte) (Lock, error) {
	if len(passphrase) < LeastPassphrase {
		return Lock{}, fmt.Errorf("a passphrase of a backup has at least %d bytes: whoever has the file may try others for ever", LeastPassphrase)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return Lock{}, fmt.Errorf("making a key: %w", err)
	}
	to, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return Lock{}, fmt.Errorf("using the passphrase: %w", err)
	}
	to.SetWorkFactor(scryptWork)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err == nil {
		_, err = io.WriteString(w, id.String())
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		return Lock{}, fmt.Errorf("encrypting with the passphrase: %w", err)
	}
	return Lock{Recipients: []string{id.Recipient().String()}, Locked: out.Bytes()}, nil
}

// Check says what is wrong with a lock that somebody else made.
func (l Lock) Check() error {
	_, err := l.parse()
	return err
}

// parse checks a lock, which may come from anybody.
func (l Lock) parse() ([]age.Recipient, error) {
	switch {
	case len(l.Recipients) == 0:
		return nil, errors.New("a backup is always encrypted: name a public key, or give a passphrase")
	case len(l.Recipients) > maxRecipients:
		return nil, fmt.Errorf("a backup can be made for at most %d keys, and these are %d", maxRecipients, len(l.Recipients))
	case len(l.Locked) > maxLocked || len(l.Locked) > 0 && len(l.Recipients) != 1:
		return nil, errors.New("a backup has a passphrase or several keys, and not both")
	}
	var out []age.Recipient
	for _, text := range l.Recipients {
		if strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-") {
			return nil, errors.New("this is a secret key, and a backup is made for the public one: `argosy backup key` prints both halves")
		}
		if len(text) > 128 {
			return nil, errors.New("a public key begins with age1 and has 62 characters")
		}
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a public key of age (age1…): %w", text, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// Key opens backups. The zero Key opens none.
type Key struct {
	identities []age.Identity
	passphrase []byte
}

// Passphrase is the key that backups made with it are opened by.
func Passphrase(text []byte) Key { return Key{passphrase: text} }

// ReadKey reads secret keys as age-keygen and [NewKey] write them.
func ReadKey(r io.Reader) (Key, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxKeyFile+1))
	if err != nil {
		return Key{}, fmt.Errorf("reading the key: %w", err)
	}
	if len(text) > maxKeyFile {
		return Key{}, fmt.Errorf("this is no file of keys: it has more than %d bytes", maxKeyFile)
	}
	ids, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return Key{}, errors.New("this file holds no secret key of age (a line AGE-SECRET-KEY-1…)") // not the text: it may be secret
	}
	return Key{identities: ids}, nil
}

// NewKey makes a key: the text of a file that [ReadKey] reads, and its public half.
func NewKey() (file []byte, public string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, "", fmt.Errorf("making a key: %w", err)
	}
	public = id.Recipient().String()
	return fmt.Appendf(nil, "# Opens backups made for the public key %s\n%s\n", public, id), public, nil
}

// open are the identities that a key has for a lock.
func (k Key) open(l Lock) ([]age.Identity, error) {
	switch {
	case len(l.Locked) > 0 && len(k.passphrase) > 0:
		id, err := unlock(l.Locked, k.passphrase)
		return []age.Identity{id}, err
	case len(l.Locked) > 0 && len(k.identities) == 0:
		return nil, fmt.Errorf("%w: it was made with a passphrase", ErrNoKey)
	case len(k.identities) == 0 && len(k.passphrase) == 0:
		return nil, fmt.Errorf("%w: it was made for %s", ErrNoKey, strings.Join(l.Recipients, ", "))
	case len(k.identities) == 0:
		return nil, fmt.Errorf("%w: it was made for %s and not with a passphrase", ErrWrongKey, strings.Join(l.Recipients, ", "))
	}
	return k.identities, nil
}

func unlock(locked, passphrase []byte) (age.Identity, error) {
	from, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, fmt.Errorf("using the passphrase: %w", err)
	}
	from.SetMaxWorkFactor(mostWork)
	r, err := age.Decrypt(bytes.NewReader(locked), from)
	if err != nil {
		var none *age.NoIdentityMatchError
		if errors.As(err, &none) {
			return nil, fmt.Errorf("%w: this is not its passphrase", ErrWrongKey)
		}
		return nil, fmt.Errorf("%w: what the passphrase opens cannot be read: %w", ErrDamaged, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxLocked))
	if err != nil {
		return nil, fmt.Errorf("%w: what the passphrase opens cannot be read: %w", ErrDamaged, err)
	}
	id, err := age.ParseX25519Identity(string(text))
	if err != nil {
		return nil, fmt.Errorf("%w: the passphrase opens no key", ErrDamaged)
	}
	return id, nil
}
