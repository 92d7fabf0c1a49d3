package database

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/argosy-cluster/argosy/internal/filelayout"
)

// DB is an agent's database. Its methods may be called at the same time.
type DB struct {
	db *bolt.DB
	// MaxOutbox bounds the outbox.
	maxOutbox uint64
}

var (
	bucketMeta        = []byte("meta")
	bucketAssignments = []byte("assignments")
	bucketOutbox      = []byte("outbox")
	bucketStates      = []byte("states")
	bucketMemory      = []byte("memory")
	bucketImages      = []byte("images")

	buckets = [][]byte{bucketMeta, bucketAssignments, bucketOutbox, bucketStates, bucketMemory, bucketImages}
)

const defaultMaxOutbox = 10000

// ErrInUse says that another process has the database open.
var ErrInUse = errors.New("another agent is using this data directory")

// Open opens or makes the database. A file that is damaged beyond reading is set aside under another name, and a new one
// made: set says where the old one is, empty when all was well.
func Open(path string) (db *DB, set string, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, "", fmt.Errorf("make the agent's data directory: %w", err)
	}
	db, err = open(path)
	if err == nil || errors.Is(err, ErrInUse) || !errors.Is(err, errDamaged) {
		return db, "", err
	}
	set = path + ".damaged"
	if err := os.Rename(path, set); err != nil {
		return nil, "", fmt.Errorf("set the damaged database aside: %w", err)
	}
	db, err = open(path)
	return db, set, err
}

var errDamaged = errors.New("the database is damaged")

// open turns what bbolt does with a damaged file, panics among it, into an error.
func open(path string) (d *DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			d, err = nil, fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	// A page that cannot be read is a fault of memory for bbolt, which maps the file.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if err := whole(path); err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, FreelistType: bolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s", ErrInUse, path)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	case err != nil:
		if st, serr := os.Stat(path); serr == nil && st.Mode().IsRegular() && st.Size() > 0 && !errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		return nil, fmt.Errorf("open the agent's database: %w", err)
	}
	defer func() {
		if r := recover(); r != nil {
			d, err = nil, errors.Join(fmt.Errorf("%w: %v", errDamaged, r), db.Close())
		}
	}()
	d = &DB{db: db, maxOutbox: defaultMaxOutbox}
	err = db.Update(func(tx *bolt.Tx) error {
		if err := layouts().Settle(tx); err != nil {
			return err
		}
		for _, b := range buckets {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the agent's database: %w", err), db.Close())
	}
	if err := d.readable(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errDamaged, err), db.Close())
	}
	return d, nil
}

// layouts are those of the file. A step is appended when what is in it changes its shape.
func layouts() filelayout.Known { return filelayout.Known{What: "the agent's database"} }

// readable reads everything once, so that damage shows now and not in the middle of the work.
func (d *DB) readable() error {
	if _, _, err := d.Assignments(); err != nil {
		return err
	}
	if _, _, err := d.Last(); err != nil {
		return err
	}
	if _, err := d.Images(); err != nil {
		return err
	}
	_, err := d.Pending(0, math.MaxInt)
	return err
}

// whole compares the file's length with what its first pages say of it: each of the two begins with 16 bytes of page
// header, then magic, version, page size and flags (4 bytes each), the root (16), the free list (8), and how many pages
// there are (8), in the machine's order. What cannot be read so is left for bbolt to judge.
func whole(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return nil
	}
	const magic, length = 0xED0CDAED, 16 + 16 + 16 + 8 + 8
	page := int64(os.Getpagesize())
	var most int64
	for i := range int64(2) {
		var b [length]byte
		if _, err := f.ReadAt(b[:], i*page); err != nil || binary.NativeEndian.Uint32(b[16:]) != magic {
			continue
		}
		size, pages := int64(binary.NativeEndian.Uint32(b[24:])), int64(binary.NativeEndian.Uint64(b[56:]))
		if size > 0 && size <= 1<<16 && pages > 0 && pages < 1<<40 {
			most = max(most, size*pages)
		}
	}
	if st.Size() < most {
		return fmt.Errorf("%w: %d bytes long, %d are in use", errDamaged, st.Size(), most)
	}
	return nil
}

// Close waits for transactions to end.
func (d *DB) Close() error { return d.db.Close() }

// SetMaxOutbox bounds the outbox to n transitions, at least 2; for tests and small machines.
func (d *DB) SetMaxOutbox(n uint64) { d.maxOutbox = max(n, 2) }

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func readNumber(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// Value returns a value kept under a name, empty when there is none.
func (d *DB) Value(name string) (value string, err error) {
	err = d.db.View(func(tx *bolt.Tx) error {
		value = string(tx.Bucket(bucketMeta).Get([]byte("value/" + name)))
		return nil
	})
	return value, err
}

// SetValue keeps a value under a name.
func (d *DB) SetValue(name, value string) error {
	return d.update("keep "+name, func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMeta).Put([]byte("value/"+name), []byte(value))
	})
}

func (d *DB) update(what string, f func(*bolt.Tx) error) error {
	if err := d.db.Update(f); err != nil {
		return fmt.Errorf("agent's database: %s: %w", what, err)
	}
	return nil
}

func (d *DB) view(what string, f func(*bolt.Tx) error) error {
	if err := d.db.View(f); err != nil {
		return fmt.Errorf("agent's database: %s: %w", what, err)
	}
	return nil
}
