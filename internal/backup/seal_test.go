package backup

import (
	"bytes"
	"testing"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// seal makes a file of a head and of what stands where the tar should, as somebody would who knows the public key.
func seal(t testing.TB, lock Lock, inner []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	trail := newTrail(&out)
	head := testHead
	head.Recipients = lock.Recipients
	raw, err := head.encode()
	if err != nil {
		t.Fatal(err)
	}
	to, err := lock.parse()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trail.Write(raw); err != nil {
		t.Fatal(err)
	}
	sealed, err := age.Encrypt(trail, to...)
	if err != nil {
		t.Fatal(err)
	}
	zipped, err := zstd.NewWriter(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zipped.Write(inner); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	if err := sealed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := trail.finish(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
