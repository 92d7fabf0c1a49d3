package manifest

import (
	"errors"
	"fmt"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/placement"
)

// stack is a stack while it is read.
type stack struct {
	spec    *argosyv1.StackSpec
	at      value
	members []placed[string]
	units   []placed[string]
	listed  int  // members as they stand there, wrong ones too
	whole   bool // nothing in it was wrong by itself
	volumes named[*volume]
	apart   []placed[string]
	with    []placed[string]
}

func (s *stack) named(name string, at value) { s.spec.Name, s.at = name, at }

func (s *stack) read(whole bool) { s.whole = whole }

func stackTable() *object[*stack] {
	volumes := volumeTable()
	placing := section(placementTable(), func() *stack { return &stack{spec: &argosyv1.StackSpec{Placement: &argosyv1.Placement{}}} })
	return newObject("stack",
		field("containers", listOf(where(text())), "The containers of the stack. They run on the same machine and reach each other by name.",
			func(r *reader, s *stack, v []placed[string], at value) {
				if len(v) > MaxMembers {
					r.fault(at, "a stack of %d containers is too large; %d are allowed", len(v), MaxMembers)
					v = v[:MaxMembers]
				}
				s.members = v
				s.listed += len(at.n.Content)
			}).ours().like("containers: [mysql, apache]"),
		field("units", listOf(where(text())), "The systemd units of the stack. Their files are on the machine before the first of them is started, and they are started before the containers.",
			func(r *reader, s *stack, v []placed[string], at value) {
				if len(v) > MaxMembers {
					r.fault(at, "a stack of %d units is too large; %d are allowed", len(v), MaxMembers)
					v = v[:MaxMembers]
				}
				s.units = v
				s.listed += len(at.n.Content)
			}).ours().like("units: [data.mount, web@.service]"),
		field("volumes", shape[[]value]{word: "map from names to volumes", keys: volumes.docs(),
			schema: jsonSchema{"type": "object", "propertyNames": nameSchema(),
				"additionalProperties": jsonSchema{"anyOf": []any{jsonSchema{"type": "null"}, volumes.schema()}}},
			read: func(r *reader, v value) ([]value, bool) { return []value{v}, true }},
			"The volumes of the stack. Each replica has its own.",
			func(r *reader, s *stack, _ []value, at value) { s.readVolumes(r, volumes, at) }).ours().like("volumes:\n  data: {size: 1GiB}"),
		field("placement", placing, "On which machines replicas may and should run.",
			func(_ *reader, s *stack, v *stack, _ value) {
				s.spec.Placement, s.apart, s.with = v.spec.Placement, v.apart, v.with
			}).
			ours().like("placement: {spread: [machine]}"),
		refuse[*stack]("count", "how many there are is not said here", "say it below cluster: STACK: NUMBER"),
		refuse[*stack]("replicas", "how many there are is not said here", "say it below cluster: STACK: NUMBER"),
	)
}

// expression is a text of the placement language.
func expression() shape[string] {
	return shape[string]{word: "expression such as `zone == edge`", schema: jsonSchema{"type": "string", "minLength": 1},
		read: func(r *reader, v value) (string, bool) {
			s, ok := someText(r, v)
			if !ok {
				return "", false
			}
			_, err := placement.Parse(s)
			if err == nil {
				return s, true
			}
			var syntax *placement.SyntaxError
			if errors.As(err, &syntax) && s == v.n.Value {
				r.faultIn(v, syntax.Offset, 1, "%s", syntax.Msg)
			} else {
				r.fault(v, "%s", err)
			}
			return "", false
		}}
}

func placementTable() *object[*stack] {
	holds := expression()
	preference := shortOrLong(
		shape[*argosyv1.Preference]{word: holds.word, schema: holds.schema, read: func(r *reader, v value) (*argosyv1.Preference, bool) {
			s, ok := holds.read(r, v)
			return &argosyv1.Preference{Expression: s, Weight: defaultWeight}, ok
		}},
		within(newObject("preference",
			field("expression", holds, "What machines should match.", func(_ *reader, p *argosyv1.Preference, v string, _ value) { p.Expression = v }).must().ours().like("expression: disk == ssd"),
			field("weight", whole(-100, 100), "How much it counts, from -100 to 100; below 0 is to be avoided.", func(r *reader, p *argosyv1.Preference, v int64, at value) {
				if v == 0 {
					r.fault(at, "a preference of weight 0 prefers nothing").Advise("the weight is from -100 to -1, or from 1 to 100")
				}
				p.Weight = int32(v)
			}).ours().like("weight: 80").unsaid(defaultWeight),
		), func() *argosyv1.Preference { return &argosyv1.Preference{Weight: defaultWeight} }))
	label := parsed("label", variable(jsonSchema{"type": "string", "minLength": 1}), parseLabel)
	stackName := where(parsed("stack of this app, or APP/STACK", variable(jsonSchema{"type": "string", "minLength": 1}), parseStackRef))
	return newObject("placement",
		field("require", oneOrMore(holds), "Expressions over the labels of machines that must all hold.", func(_ *reader, s *stack, v []string, _ value) {
			s.spec.Placement.Require = v
		}).ours().like(`require: ["zone == edge"]`),
		field("prefer", oneOrMore(preference), "Expressions that should hold, each a text or a map with a weight.", func(_ *reader, s *stack, v []*argosyv1.Preference, _ value) {
			s.spec.Placement.Prefer = v
		}).ours().like("prefer: [{expression: disk == ssd, weight: 80}]"),
		field("spread", oneOrMore(where(label)), "Labels over whose values replicas are spread evenly; `machine` is each machine by itself.",
			func(r *reader, s *stack, v []placed[string], _ value) { s.spec.Placement.Spread = r.distinct(v) }).ours().like("spread: [rack, machine]"),
		field("apart_from", oneOrMore(stackName), "Stacks that must not run on the same machine: of this app, or APP/STACK.",
			func(r *reader, s *stack, v []placed[string], _ value) {
				s.spec.Placement.ApartFrom, s.apart = r.distinct(v), v
			}).ours().like("apart_from: [batch]"),
		field("together_with", oneOrMore(stackName), "Stacks of which a replica must already run on the machine: of this app, or APP/STACK.",
			func(r *reader, s *stack, v []placed[string], _ value) {
				s.spec.Placement.TogetherWith, s.with = r.distinct(v), v
			}).ours().like("together_with: [cache]"),
		field("when_unmet", choice("word", map[string]bool{"stay": false, "move": true}),
			"What becomes of a replica when labels change and its machine no longer meets `require`: `stay` where it is, or `move` to one that does, ready there before it ends here. One whose data is on the machine stays.",
			func(_ *reader, s *stack, v bool, _ value) { s.spec.Placement.MoveWhenUnmet = v }).ours().like("when_unmet: move").unsaid("stay"),
	)
}

const defaultWeight = 50

func (r *reader) distinct(list []placed[string]) []string {
	var out []string
	for i, p := range list {
		if i < maxDepends && contains(out, p.is) {
			r.fault(p.at, "%s is here twice", quoted(p.is))
		}
		out = append(out, p.is)
	}
	return out
}

func parseLabel(s string) (string, error) {
	for _, c := range s {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("._/-", c) {
			return "", &betterError{message: fmt.Sprintf("%s is not the name of a label", quoted(s)), hint: "here stands a label's name alone, such as rack or machine"}
		}
	}
	if s == "" || len(s) > 128 {
		return "", errors.New("a label's name has 1 to 128 characters")
	}
	return s, nil
}

func parseStackRef(s string) (string, error) {
	app, stack, both := strings.Cut(s, "/")
	if !both {
		return s, checkName(s)
	}
	if err := checkName(app); err != nil {
		return "", err
	}
	return s, checkName(stack)
}

// entryOf is what the cluster needs of one stack, while it is read.
type entryOf struct {
	spec  *argosyv1.ClusterEntry
	at    value
	count value // where it stands, when said
	each  value
}

func clusterTable() *object[*entryOf] {
	later := func(name string) key[*entryOf] {
		return refuse[*entryOf](name, "it is not honoured yet", "leave it out")
	}
	return newObject("cluster entry",
		field("count", whole(0, MaxReplicas), "How many replicas.", func(_ *reader, e *entryOf, n int64, at value) { e.spec.Count, e.count = uint32(n), at }).ours().like("count: 5"),
		field("on", choice("word", map[string]bool{"each-machine": true}), "`each-machine`: one on each machine that placement allows.",
			func(_ *reader, e *entryOf, v bool, at value) { e.spec.EachMachine, e.each = v, at }).ours().like("on: each-machine"),
		later("run"), later("schedule"), later("update"), later("after"),
	)
}

// clusterShape is the map from stacks to numbers or maps.
func clusterShape(o *object[*entryOf]) shape[additions[*entryOf]] {
	number := whole(0, MaxReplicas)
	return shape[additions[*entryOf]]{word: "map from stacks to numbers or maps", keys: o.docs(),
		schema: jsonSchema{"type": "object", "propertyNames": nameSchema(), "additionalProperties": jsonSchema{"anyOf": []any{number.schema, o.schema()}}},
		read: func(r *reader, v value) (additions[*entryOf], bool) {
			entries, _ := r.entries(v)
			out := additions[*entryOf]{what: "the number of stack", into: func(d *draft) *named[*entryOf] { return &d.cluster }}
			for _, e := range entries {
				entry := &entryOf{spec: &argosyv1.ClusterEntry{Stack: e.key.Value}, at: e.name()}
				if e.isMap() {
					if o.read(r, e.value, "the cluster entry "+e.key.Value, entry) && (entry.count.n == nil) == (entry.each.n == nil) {
						r.fault(e.name(), "the cluster entry %s must have either count or on", e.key.Value)
					}
				} else if n, ok := number.read(r, e.value); ok {
					entry.spec.Count = uint32(n)
				}
				out.names = append(out.names, placed[string]{e.key.Value, e.name()})
				out.list = append(out.list, entry)
			}
			return out, true
		}}
}
