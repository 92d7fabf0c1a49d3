package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/placement"
)

func (v *verifier) placement(s *argosyv1.StackSpec) error {
	p := s.GetPlacement()
	if n := len(p.GetRequire()) + len(p.GetPrefer()) + len(p.GetSpread()) + len(p.GetApartFrom()) + len(p.GetTogetherWith()); n > maxDepends {
		return fmt.Errorf("its placement has %d rules; %d are allowed", n, maxDepends)
	}
	expressions := slices.Clone(p.GetRequire())
	for _, pref := range p.GetPrefer() {
		if pref.Weight < -100 || pref.Weight > 100 || pref.Weight == 0 {
			return fmt.Errorf("weight %d is not between -100 and 100, or is 0", pref.Weight)
		}
		expressions = append(expressions, pref.Expression)
	}
	for _, e := range expressions {
		_, err := placement.Parse(e)
		var syntax *placement.SyntaxError
		if errors.As(err, &syntax) { // its own text has the whole expression in it
			return fmt.Errorf("placement %s: at character %d: %s", quoted(e), syntax.Offset+1, clip(syntax.Msg))
		}
		if err != nil {
			return fmt.Errorf("placement %s: %w", quoted(e), err)
		}
	}
	for _, label := range p.GetSpread() {
		if _, err := parseLabel(label); err != nil {
			return err
		}
	}
	own := func(name string) string { return strings.TrimPrefix(name, v.spec.Name+"/") }
	for _, name := range append(slices.Clone(p.GetApartFrom()), p.GetTogetherWith()...) {
		if _, err := parseStackRef(name); err != nil {
			return err
		}
		if name = own(name); !strings.Contains(name, "/") && v.stacks[name] == nil {
			return fmt.Errorf("its placement names stack %s, which is not declared", name)
		}
	}
	for _, name := range p.GetTogetherWith() {
		if own(name) == s.Name {
			return errors.New("it can only run where it runs already, so it never runs")
		}
		if slices.ContainsFunc(p.GetApartFrom(), func(o string) bool { return own(o) == own(name) }) {
			return fmt.Errorf("it is to be together with %s and apart from it", name)
		}
	}
	return nil
}
