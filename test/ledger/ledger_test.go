package ledger

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
)

func rec(token uint64, life string, number uint64, ms int) Record {
	return Record{Token: claims.Token{Generation: 1, Revision: token}, Life: life, Number: number, At: time.Duration(ms) * time.Millisecond}
}

func TestJudge(t *testing.T) {
	good := []Record{rec(5, "a", 1, 10), rec(5, "a", 2, 20), rec(5, "b", 3, 40), rec(9, "c", 4, 90)}
	for _, c := range []struct {
		name       string
		file, told []Record
		want       string // in one of the faults; empty: none
	}{
		{"one after another", good, good, ""},
		{"told less", good, good[:1], ""},
		{"nothing", nil, nil, ""},
		{"an older token after a newer one", append(slices.Clone(good), rec(5, "d", 5, 99)), nil, "with token 1-5, after 1-9"},
		{"a gap", []Record{good[0], rec(5, "a", 3, 30)}, nil, "calls itself 3"},
		{"a clock that goes back", []Record{good[0], rec(5, "a", 2, 9)}, nil, "1ms before the one"},
		{"a process with two tokens", []Record{good[0], rec(6, "a", 2, 20)}, nil, "tokens 1-5 and 1-6"},
		{"what was told is lost", good[:2], good[:3], "told as written, and the file has 2"},
		{"what was told is overwritten", good, []Record{rec(4, "z", 3, 5)}, "by z with token 1-4, and is by b"},
		{"two at a time, one of which left nothing", good[:2], []Record{good[0], good[1], rec(4, "z", 2, 15)}, "process z with token 1-4 wrote 5ms before process a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			faults := Judge(c.file, c.told)
			if c.want == "" && len(faults) > 0 || c.want != "" && !slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, c.want) }) {
				t.Errorf("want %q, got %q", c.want, faults)
			}
		})
	}
}

func TestReadsWhatWasWritten(t *testing.T) {
	want := []Record{rec(5, "a", 1, 10), rec(1<<62, "ffffffff", 1<<63, 1<<40)}
	var b bytes.Buffer
	for _, r := range want {
		b.Write(r.Encode())
	}
	got, err := Read(bytes.NewReader(append(b.Bytes(), "torn"...)))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	damaged := b.Bytes()
	damaged[Size+1] = '?'
	if got, err := Read(bytes.NewReader(damaged)); err == nil {
		t.Errorf("read %v of what is damaged", got)
	}
}

func TestLinearizable(t *testing.T) {
	good := []Record{rec(5, "a", 1, 10), rec(5, "a", 2, 20), rec(5, "b", 3, 40), rec(9, "c", 4, 90)}
	heard := func(ms int, list ...Record) (out []Told) {
		for _, r := range list {
			out = append(out, Told{r, r.At + time.Duration(ms)*time.Millisecond})
		}
		return out
	}
	for _, c := range []struct {
		name string
		file []Record
		told []Told
		want string // empty: none
	}{
		{"one after another", good, heard(1, good...), ""},
		{"told late", good, heard(1000, good...), ""},
		{"told of some", good, heard(1, good[1]), ""},
		{"nothing", nil, nil, ""},
		{"an older token after a newer one", append(slices.Clone(good), rec(5, "d", 5, 99)), nil, "after 4 records"},
		{"a gap", []Record{good[0], rec(5, "a", 3, 30)}, nil, "after 1 records"},
		{"written by one that began after somebody was told of what it did not see", []Record{rec(5, "a", 1, 50), rec(6, "b", 2, 10)},
			append(heard(1, rec(5, "a", 1, 50)), heard(20, rec(6, "b", 2, 10))...), "no order"},
		{"a process with two tokens", []Record{good[0], rec(6, "a", 2, 20)}, nil, "after 1 records"},
		{"what was told is lost", good[:2], heard(1, good[:3]...), "1 records were told as written and are not there, the first of them 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Linearizable(c.file, c.told, time.Minute)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("want %q, got %v", c.want, err)
			}
		})
	}
	var long []Record
	for i := range 5 * atOnce {
		long = append(long, rec(uint64(1+i/1500), fmt.Sprint("life", i/700), uint64(i+1), 3*i))
	}
	for i := range long { // a life has one token
		long[i].Token = long[i/700*700].Token
	}
	if err := Linearizable(long, heard(1, long...), time.Minute); err != nil {
		t.Error(err)
	}
	long[4*atOnce].Number++
	if err := Linearizable(long, nil, time.Minute); err == nil || !strings.Contains(err.Error(), "after 4000 records") {
		t.Errorf("%v", err)
	}
}
