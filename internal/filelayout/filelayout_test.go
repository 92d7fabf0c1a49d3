package filelayout

import (
	"errors"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// shout is a step that moves what is in one bucket to another.
func shout(tx *bbolt.Tx) error {
	b, err := tx.CreateBucket([]byte("new"))
	if err != nil {
		return err
	}
	err = tx.Bucket([]byte("old")).ForEach(func(k, v []byte) error { return b.Put(k, append(v, '!')) })
	if err != nil {
		return err
	}
	return tx.DeleteBucket([]byte("old"))
}

func settle(t *testing.T, path string, k Known, before, after func(tx *bbolt.Tx) error) error {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return db.Update(func(tx *bbolt.Tx) error {
		if before != nil {
			if err := before(tx); err != nil {
				t.Fatal(err)
			}
		}
		if err := k.Settle(tx); err != nil {
			return err
		}
		if after != nil {
			return after(tx)
		}
		return nil
	})
}

func TestSettle(t *testing.T) {
	old := func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("old"))
		if err != nil {
			return err
		}
		return b.Put([]byte("a"), []byte("one"))
	}
	first, second := Known{What: "the file"}, Known{What: "the file", Steps: []Step{shout}}
	has := func(want string) func(tx *bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("new"))
			if b == nil || string(b.Get([]byte("a"))) != want || tx.Bucket([]byte("old")) != nil {
				t.Errorf("it is not %q", want)
			}
			return nil
		}
	}
	// A file without a number is of layout 1, and is changed once.
	path := filepath.Join(t.TempDir(), "a.db")
	if err := settle(t, path, second, old, has("one!")); err != nil {
		t.Fatal(err)
	}
	if err := settle(t, path, second, nil, has("one!")); err != nil {
		t.Fatal(err)
	}
	// The earlier release refuses it, and leaves it as it is.
	var newer *NewerError
	if err := settle(t, path, first, nil, nil); !errors.As(err, &newer) || newer.Layout != 2 {
		t.Errorf("the earlier release: %v", err)
	}
	// A new file has the newest from the beginning: the step would fail on it.
	path = filepath.Join(t.TempDir(), "b.db")
	if err := settle(t, path, second, nil, nil); err != nil {
		t.Fatal(err)
	}
	// One that the earlier release made and numbered is changed too; a step that fails changes nothing.
	path = filepath.Join(t.TempDir(), "c.db")
	if err := settle(t, path, first, nil, old); err != nil {
		t.Fatal(err)
	}
	bad := Known{What: "the file", Steps: []Step{func(tx *bbolt.Tx) error { return errors.Join(shout(tx), errors.New("no")) }}}
	if err := settle(t, path, bad, nil, nil); err == nil {
		t.Error("a step that failed counts as done")
	}
	if err := settle(t, path, second, nil, has("one!")); err != nil {
		t.Fatal(err)
	}
}
