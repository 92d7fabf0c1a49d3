package manifest

import (
	"errors"
	"fmt"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// UnitStack is what the one stack of an app is called that is a unit submitted by itself.
const UnitStack = "unit"

// unitsOf checks the app's units, and that an app that is called like a unit is that unit and nothing else.
func (v *verifier) unitsOf() error {
	if len(v.spec.Units) > MaxContainers {
		return fmt.Errorf("there are %d units; %d are allowed", len(v.spec.Units), MaxContainers)
	}
	for _, u := range v.spec.Units {
		err := checkUnitName(u.Name)
		var read *unitfile.Unit
		if err == nil {
			var faults Faults
			read, faults = unitfile.Read(u.Name, u.Content)
			err = faults.Err()
		}
		if err == nil {
			err = verifyOptions(u)
		}
		if err == nil {
			err = verifyResources(&argosyv1.ContainerSpec{Resources: u.Resources})
		}
		switch {
		case err != nil:
			return fmt.Errorf("unit %s: %w", quoted(u.Name), err)
		case v.units[u.Name] != nil:
			return fmt.Errorf("unit %s is declared twice", u.Name)
		}
		v.units[u.Name] = read
	}
	if !unitfile.IsName(v.spec.Name) {
		return nil
	}
	alone := len(v.spec.Units) == 1 && v.units[v.spec.Name] != nil && len(v.spec.Stacks) == 1 && v.spec.Stacks[0].GetName() == UnitStack &&
		len(v.spec.Stacks[0].GetUnits()) == 1 && len(v.spec.Containers)+len(v.spec.Stacks[0].GetContainers()) == 0
	if !alone {
		return fmt.Errorf("an app called %s is the unit of that name and nothing else, in a stack called %s", quoted(v.spec.Name), UnitStack)
	}
	return nil
}

// verifyOptions: what a unit came as says what its file does.
func verifyOptions(u *argosyv1.Unit) error {
	if len(u.Options) == 0 {
		return nil
	}
	said := make([]unitfile.Option, 0, min(len(u.Options), unitfile.MaxOptions+1))
	for _, o := range u.Options {
		if len(said) > unitfile.MaxOptions {
			break
		}
		said = append(said, unitfile.Option{Section: o.GetSection(), Name: o.GetName(), Value: o.GetValue()})
	}
	file, faults := unitfile.FromOptions(u.Name, said)
	if err := faults.Err(); err != nil {
		return err
	}
	if file.Text() != u.Content {
		return errors.New("its options say something else than its content")
	}
	return nil
}
