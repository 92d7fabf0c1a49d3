package robustness

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// app is what is in the store of one app, as far as clients can tell.
type app struct {
	there, deleting bool
	revision        uint64
	count           uint32
}

// next lists what an app may be after an operation with that result; none when the result is a lie.
func next(a app, op Operation) []app {
	var out []app
	for _, from := range settled(a) {
		out = append(out, after(from, op)...)
	}
	return out
}

// settled is an app as it is, and as it may have become by itself: what is being deleted is gone once its replicas are.
func settled(a app) []app {
	if a.deleting {
		return []app{a, {}}
	}
	return []app{a}
}

func after(a app, op Operation) []app {
	r := op.Result
	switch r.Outcome {
	case Unknown:
		return append(effect(a, op), a)
	case NotFound:
		if !a.there && op.Kind != Apply {
			return []app{a}
		}
		return nil
	case Deleting:
		if a.deleting {
			return []app{a}
		}
		return nil
	}
	switch op.Kind {
	case Read:
		if a.there && a.deleting == r.Deleting && a.revision == r.Revision && a.count == r.Count {
			return []app{a}
		}
		return nil
	case Delete:
		return effect(a, op)
	}
	// Apply or Scale, and a revision came of it.
	var out []app
	for _, to := range effect(a, op) {
		if to.revision == r.Revision && to.count == op.Count && r.Changed == (a != to) {
			out = append(out, to)
		}
	}
	return out
}

// effect is what an operation that is carried out makes of an app; none when it cannot be carried out.
func effect(a app, op Operation) []app {
	switch op.Kind {
	case Delete:
		if a.there {
			a.deleting = true
			return []app{a}
		}
	case Apply:
		if !a.there {
			return []app{{there: true, revision: 1, count: op.Count}}
		}
		fallthrough
	case Scale:
		if !a.there || a.deleting {
			return nil
		}
		if a.count != op.Count {
			a.count, a.revision = op.Count, a.revision+1
		}
		return []app{a}
	}
	return nil
}

func model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Partition: func(ops []porcupine.Operation) (out [][]porcupine.Operation) {
			byApp := map[string]int{}
			for _, op := range ops {
				name := op.Input.(Operation).App
				i, ok := byApp[name]
				if !ok {
					i = len(out)
					byApp[name] = i
					out = append(out, nil)
				}
				out[i] = append(out[i], op)
			}
			return out
		},
		Init: func() []any { return []any{app{}} },
		Step: func(state, input, _ any) (out []any) {
			for _, a := range next(state.(app), input.(Operation)) {
				out = append(out, a)
			}
			return out
		},
		Equal:             func(a, b any) bool { return a == b },
		DescribeOperation: func(input, _ any) string { return input.(Operation).String() },
	}
	return m.ToModel()
}

func (op Operation) String() string {
	what := fmt.Sprintf("%s %s", op.Kind, op.App)
	if op.Kind == Apply || op.Kind == Scale {
		what += fmt.Sprintf("=%d", op.Count)
	}
	switch r := op.Result; {
	case r.Outcome != Done:
		return fmt.Sprintf("%s: %s", what, r.Outcome)
	case op.Kind == Delete:
		return what + ": done"
	default:
		return fmt.Sprintf("%s: revision %d, %d replicas, changed %t, deleting %t", what, r.Revision, r.Count, r.Changed, r.Deleting)
	}
}

// Linearizable says whether one after another, each at some instant between its call and its return, the operations could
// have had these results; and otherwise what came last before it went wrong. It gives up after limit.
func Linearizable(ops []Operation, limit time.Duration) error {
	var list []porcupine.Operation
	for _, op := range ops {
		end := int64(op.Return)
		if op.Result.Outcome == Unknown {
			if op.Kind == Read {
				continue // it says nothing
			}
			end = math.MaxInt64
		}
		list = append(list, porcupine.Operation{ClientId: op.Client, Input: op, Call: int64(op.Call), Return: end})
	}
	res, info := porcupine.CheckOperationsVerbose(model(), list, limit)
	switch res {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("%d operations could not be judged within %s", len(list), limit)
	}
	var names []string // in the order of the parts
	for _, op := range list {
		if name := op.Input.(Operation).App; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for i, part := range info.PartialLinearizationsOperations() {
		var longest []porcupine.Operation
		for _, p := range part {
			if len(p) > len(longest) {
				longest = p
			}
		}
		in := map[string]bool{}
		for _, op := range longest {
			in[fmt.Sprint(op.ClientId, op.Call)] = true
		}
		for _, op := range list {
			o := op.Input.(Operation)
			if o.App != names[i] || o.Result.Outcome == Unknown || in[fmt.Sprint(op.ClientId, op.Call)] {
				continue
			}
			if len(longest) == 0 {
				return fmt.Errorf("not linearizable from the start: no order explains %s (client %d, from %s to %s)", o, o.Client, o.Call, o.Return)
			}
			return fmt.Errorf("not linearizable: after %d operations, the last of them %s (from %s to %s), no order explains %s (client %d, from %s to %s)",
				len(longest), longest[len(longest)-1].Input, time.Duration(longest[len(longest)-1].Call), time.Duration(longest[len(longest)-1].Return),
				o, o.Client, o.Call, o.Return)
		}
	}
	return fmt.Errorf("%d operations are not linearizable", len(list))
}
