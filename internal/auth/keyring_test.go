package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func keyring(t testing.TB) *Keyring {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	k, err := newKeyring(key)
	return must(t, k, err)
}

func TestKeyring(t *testing.T) {
	k, other := keyring(t), keyring(t)
	context := SecretContext(KindSecret, "blue", "db", 3)
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		enc := k.Encrypt(NewSecret(value), context)
		if len(value) > 4 && bytes.Contains(enc, value) {
			t.Fatal("the value is in the clear")
		}
		if again := k.Encrypt(NewSecret(value), context); bytes.Equal(again, enc) {
			t.Fatal("equal values can be told from what is kept")
		}
		got, err := k.Decrypt(enc, context)
		if err != nil || !bytes.Equal(got.Reveal(), value) {
			t.Fatalf("%v, %v", got.Reveal(), err)
		}
		if _, err := other.Decrypt(enc, context); err == nil {
			t.Fatal("another key opens it")
		}
		i := rapid.IntRange(0, len(enc)-1).Draw(t, "place")
		enc[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := k.Decrypt(enc, context); err == nil {
			t.Fatal("a changed value opens")
		}
		if _, err := k.Decrypt(enc[:i], context); err == nil {
			t.Fatal("a cut value opens")
		}
	})
}

// A value is good only for the kind, tenant, name and version that it was made for.
func TestContexts(t *testing.T) {
	k := keyring(t)
	private, public, err := NewSealingKey()
	if err != nil {
		t.Fatal(err)
	}
	contexts := [][]byte{
		SecretContext(KindSecret, "blue", "db", 3), SecretContext(KindRegistry, "blue", "db", 3), SecretContext(KindSecret, "red", "db", 3),
		SecretContext(KindSecret, "blue", "dc", 3), SecretContext(KindSecret, "blue", "db", 4), SecretContext(KindSecret, "blued", "b", 3),
		SecretContext(KindSecret, "blue", "db3", 0), SecretContext("", "", "", 0), nil,
	}
	for i, made := range contexts {
		enc := k.Encrypt(NewSecret([]byte("v")), made)
		sealed, err := SealTo(public, NewSecret([]byte("v")), made)
		if err != nil {
			t.Fatal(err)
		}
		for j, used := range contexts {
			if _, err := k.Decrypt(enc, used); (err == nil) != (i == j) {
				t.Errorf("encrypted for %q, decrypted for %q: %v", made, used, err)
			}
			if _, err := OpenSealed(private, sealed, used); (err == nil) != (i == j) {
				t.Errorf("sealed for %q, opened for %q: %v", made, used, err)
			}
		}
	}
}

func TestSealing(t *testing.T) {
	private, public, err := NewSealingKey()
	if err != nil {
		t.Fatal(err)
	}
	otherPrivate, _, err := NewSealingKey()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := PublicSealingKey(private); err != nil || !bytes.Equal(again, public) {
		t.Errorf("the public half of the private key is %x, %v; want %x", again, err, public)
	}
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		sealed, err := SealTo(public, NewSecret(value), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := OpenSealed(private, sealed, nil)
		if err != nil || !bytes.Equal(got.Reveal(), value) {
			t.Fatalf("%v, %v", got.Reveal(), err)
		}
		if _, err := OpenSealed(otherPrivate, sealed, nil); err == nil {
			t.Fatal("another machine opens it")
		}
		i := rapid.IntRange(0, len(sealed)-1).Draw(t, "place")
		cut := slices.Clone(sealed[:i])
		if _, err := OpenSealed(private, cut, nil); err == nil {
			t.Fatal("a cut value opens")
		}
	})
	for _, bad := range [][]byte{nil, {}, make([]byte, 31), make([]byte, 32), make([]byte, 33)} {
		_, sealErr := SealTo(bad, NewSecret([]byte("v")), nil)
		if sealErr == nil {
			t.Errorf("sealed to the key %x", bad)
		}
		if err := CheckSealingKey(bad); err == nil && len(bad) != 32 {
			t.Errorf("%d bytes pass for a key", len(bad))
		}
	}
	if err := CheckSealingKey(public); err != nil {
		t.Error(err)
	}
	if _, err := OpenSealed(Secret{}, nil, nil); err == nil {
		t.Error("no key opens")
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	const value = "hunter2"
	s := NewSecret([]byte(value))
	nested := struct {
		S Secret
		P *Secret
		M map[string]Secret
	}{s, &s, map[string]Secret{"k": s}}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10.3s", "% x"} {
		fmt.Fprintf(&out, verb+"\n"+verb+"\n"+verb+"\n", s, &s, nested)
	}
	fmt.Fprintln(&out, s, nested)
	for _, v := range []any{s, nested} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "secret", s, "pointer", &s, "nested", nested)
	}
	fmt.Fprint(&out, fmt.Errorf("wrapped: %v", s), s.String(), s.GoString())
	text := out.String()
	for _, form := range []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value), fmt.Sprint([]byte(value)), fmt.Sprintf("% x", value), "aHVudGVyMg"} {
		if strings.Contains(text, form) {
			t.Errorf("the value shows as %q in:\n%s", form, text)
		}
	}
}
