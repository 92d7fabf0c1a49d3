package core

import (
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Plan says what making a spec the app's next revision would change.
func (v *View) Plan(tenant string, spec *argosyv1.AppSpec) (*argosyv1.PlanResponse, error) {
	return nil, nil
}
