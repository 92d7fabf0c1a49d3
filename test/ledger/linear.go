package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// Told is a record that somebody was told of as written, and when, by CLOCK_BOOTTIME.
type Told struct {
	Record
	Heard time.Duration
}

// book is what a ledger is to all that may follow: the last that was written, and with which token by whom.
type book struct {
	number uint64
	token  claims.Token
	life   string
}

// write is what follows when a process appends; false when it may not, or cannot have been given that number.
func (b book) write(r Record) (book, bool) {
	switch {
	case r.Number != b.number+1, r.Token.Less(b.token), r.Life == b.life && r.Token != b.token:
		return b, false
	}
	return book{r.Number, r.Token, r.Life}, true
}

// Linearizable says whether what was written is what one process after another, none with a token below that of those before, can have
// written to one volume, each record at some instant between when its process read the clock and when somebody was told of it, or
// the process went on to the next: so no machine ever wrote to what it had not seen the end of. It gives up after limit.
func Linearizable(file []Record, told []Told, limit time.Duration) error {
	heard := map[Record]time.Duration{}
	for _, r := range told {
		heard[r.Record] = r.Heard
	}
	var ops []porcupine.Operation
	clients := map[string]int{}
	for i, r := range file {
		end, ok := heard[r]
		delete(heard, r)
		if !ok {
			end = math.MaxInt64 // it may have been lost on its way
		}
		if i+1 < len(file) && file[i+1].Life == r.Life {
			end = min(end, file[i+1].At)
		}
		if _, ok := clients[r.Life]; !ok {
			clients[r.Life] = len(clients)
		}
		ops = append(ops, porcupine.Operation{ClientId: clients[r.Life], Input: r, Call: int64(r.At), Return: int64(end)})
	}
	if len(heard) > 0 {
		lost := slices.MinFunc(slices.Collect(maps.Keys(heard)), func(a, b Record) int { return cmp.Compare(a.Number, b.Number) })
		return fmt.Errorf("%d records were told as written and are not there, the first of them %d with token %s", len(heard), lost.Number, lost.Token)
	}
	begun := time.Now()
	var from book
	for len(ops) > 0 {
		n := quiet(ops)
		if err := judge(from, ops[:n], limit-time.Since(begun)); err != nil {
			return err
		}
		last := ops[n-1].Input.(Record)
		from, ops = book{last.Number, last.Token, last.Life}, ops[n:]
	}
	return nil
}

// atOnce is how many records are judged at once: memory grows with the square of it.
const atOnce = 1000

// quiet is how many of these can be judged without those that follow, since all had ended before the next began.
func quiet(ops []porcupine.Operation) int {
	end := int64(math.MinInt64)
	for i, op := range ops {
		if i >= atOnce && end <= op.Call {
			return i
		}
		end = max(end, op.Return)
	}
	return len(ops)
}

// judge judges what follows from.
func judge(from book, ops []porcupine.Operation, limit time.Duration) error {
	model := porcupine.Model{
		Init: func() any { return from },
		Step: func(state, input, _ any) (bool, any) {
			next, ok := state.(book).write(input.(Record))
			return ok, next
		},
		Equal: func(a, b any) bool { return a == b },
	}
	res, info := porcupine.CheckOperationsVerbose(model, ops, max(limit, time.Millisecond))
	switch res {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("the records could not be judged in time; %d and more are left", len(ops))
	}
	longest := 0
	for _, part := range info.PartialLinearizationsOperations() {
		for _, p := range part {
			longest = max(longest, len(p))
		}
	}
	return fmt.Errorf("no order explains what was written after %d records", from.number+uint64(longest))
}
