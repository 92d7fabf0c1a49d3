package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// Size is that of a record in the file, in bytes: whole ones are found again behind one that was torn.
const Size = 128

// Record is one entry.
type Record struct {
	Token claims.Token
	// Life is that of the process: eight hexadecimal digits that no other has.
	Life string
	// Number counts from 1, across all that ever wrote.
	Number uint64
	// At is CLOCK_BOOTTIME, read before it was written.
	At time.Duration
}

// Encode is the record as it is in the file.
func (r Record) Encode() []byte {
	b := bytes.Repeat([]byte{' '}, Size)
	copy(b, fmt.Sprintf("%s %s %d %d", r.Token, r.Life, r.Number, r.At))
	b[Size-1] = '\n'
	return b
}

// Parse reads what Encode wrote.
func Parse(b []byte) (Record, error) {
	f := strings.Fields(string(b))
	if len(b) != Size || b[Size-1] != '\n' || len(f) != 4 {
		return Record{}, fmt.Errorf("%.40q is no record", b)
	}
	token, err := claims.ParseStamp(f[0])
	if err != nil {
		return Record{}, err
	}
	r := Record{Token: token, Life: f[1]}
	var at int64
	if _, err := fmt.Sscan(f[2]+" "+f[3], &r.Number, &at); err != nil {
		return Record{}, fmt.Errorf("%.40q is no record: %w", b, err)
	}
	r.At = time.Duration(at)
	return r, nil
}

// Read reads a whole file. A last record that is torn is left out: nobody was told of it.
func Read(r io.Reader) ([]Record, error) {
	var all []Record
	b := make([]byte, Size)
	for {
		_, err := io.ReadFull(r, b)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		one, err := Parse(b)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", len(all)+1, err)
		}
		all = append(all, one)
	}
}

// mostFaults bounds how many are told: one that overwrites others makes many.
const mostFaults = 20

// Judge says what of a file, and of what was told as written, cannot be if one process wrote after another and nothing that was
// told got lost.
func Judge(file, told []Record) (faults []string) {
	fault := func(format string, args ...any) {
		if len(faults) < mostFaults {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	for i, r := range file {
		if r.Number != uint64(i)+1 {
			fault("record %d of the file calls itself %d", i+1, r.Number)
		}
		if i == 0 {
			continue
		}
		before := file[i-1]
		switch {
		case r.Token.Less(before.Token):
			fault("record %d was written with token %s, after %s", i+1, r.Token, before.Token)
		case r.Life == before.Life && r.Token != before.Token:
			fault("process %s wrote with tokens %s and %s", r.Life, before.Token, r.Token)
		case r.At <= before.At:
			fault("record %d was written %s before the one that it follows", i+1, before.At-r.At)
		}
	}
	for _, r := range told {
		if r.Number == 0 || r.Number > uint64(len(file)) {
			fault("record %d of token %s was told as written, and the file has %d", r.Number, r.Token, len(file))
		} else if is := file[r.Number-1]; is != r {
			fault("record %d was told as written by %s with token %s, and is by %s with token %s", r.Number, r.Life, r.Token, is.Life, is.Token)
		}
	}
	for _, o := range overlaps(slices.Concat(file, told)) {
		fault("%s", o)
	}
	return faults
}

// overlaps finds processes that wrote at a time.
func overlaps(all []Record) (out []string) {
	type life struct {
		Record
		last time.Duration
	}
	lives := map[string]life{}
	for _, r := range all {
		l, known := lives[r.Life]
		if !known {
			l = life{r, r.At}
		}
		l.At, l.last = min(l.At, r.At), max(l.last, r.At)
		lives[r.Life] = l
	}
	var sorted []life
	for _, l := range lives {
		sorted = append(sorted, l)
	}
	slices.SortFunc(sorted, func(a, b life) int { return cmp.Compare(a.At, b.At) })
	for i, l := range sorted {
		if i > 0 && l.At <= sorted[i-1].last {
			b := sorted[i-1]
			out = append(out, fmt.Sprintf("process %s with token %s wrote %s before process %s with token %s wrote last", l.Life, l.Token, b.last-l.At, b.Life, b.Token))
		}
	}
	return out
}
