package fleetapi

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// unit is fleet's Unit entity.
type unit struct {
	CurrentState string   `json:"currentState,omitempty"`
	DesiredState string   `json:"desiredState,omitempty"`
	MachineID    string   `json:"machineID,omitempty"`
	Name         string   `json:"name,omitempty"`
	Options      []option `json:"options,omitempty"`
}

type option struct {
	Name    string `json:"name"`
	Section string `json:"section"`
	Value   string `json:"value"`
}

type unitPage struct {
	NextPageToken string `json:"nextPageToken,omitempty"`
	Units         []unit `json:"units"`
}

// goals are fleet's states by name.
func goal(state string) (argosyv1.UnitGoal, bool) {
	switch state {
	case "inactive":
		return argosyv1.UnitGoal_UNIT_GOAL_INACTIVE, true
	case "loaded":
		return argosyv1.UnitGoal_UNIT_GOAL_LOADED, true
	case "launched":
		return argosyv1.UnitGoal_UNIT_GOAL_LAUNCHED, true
	}
	return 0, false
}

func stateName(g argosyv1.UnitGoal) string {
	switch g {
	case argosyv1.UnitGoal_UNIT_GOAL_LOADED:
		return "loaded"
	case argosyv1.UnitGoal_UNIT_GOAL_LAUNCHED:
		return "launched"
	}
	return "inactive"
}

// unitOf is a unit as fleet shows it. One of every machine is on none in particular.
func unitOf(s *argosyv1.UnitStatus) unit {
	u := unit{Name: s.Name, DesiredState: stateName(s.Goal), Options: options(s)}
	if s.Global {
		return u
	}
	u.CurrentState = stateName(s.Current)
	for _, c := range s.Copies {
		u.MachineID = c.Machine
	}
	return u
}

// options are what the unit was made of.
func options(s *argosyv1.UnitStatus) []option {
	if len(s.Options) > 0 {
		var out []option
		for _, o := range s.Options {
			out = append(out, option{Name: o.Name, Section: o.Section, Value: o.Value})
		}
		return out
	}
	file, _ := unitfile.Parse(s.Name, s.Content) // it was read before it was kept
	var out []option
	for _, o := range file.Options() {
		out = append(out, option{Name: o.Name, Section: o.Section, Value: o.Value})
	}
	return out
}

func (h *handler) listUnits(w http.ResponseWriter, r *http.Request, _ string) error {
	n, err := page(r)
	if err != nil {
		return err
	}
	list, err := h.c.ListUnits(r.Context(), &argosyv1.ListUnitsRequest{Offset: uint32(n-1) * pageSize, Limit: pageSize})
	if err != nil {
		return err
	}
	out := unitPage{Units: make([]unit, 0, len(list.Units)), NextPageToken: token(n, list.More)}
	for _, s := range list.Units {
		out.Units = append(out.Units, unitOf(s))
	}
	h.send(w, http.StatusOK, out)
	return nil
}

// find is the unit of that name, or nil.
func (h *handler) find(ctx context.Context, name string) (*argosyv1.UnitStatus, error) {
	if _, err := unitfile.ParseName(name); err != nil {
		return nil, nil
	}
	list, err := h.c.ListUnits(ctx, &argosyv1.ListUnitsRequest{Names: []string{name}})
	if err != nil || len(list.Units) == 0 {
		return nil, err
	}
	return list.Units[0], nil
}

func (h *handler) getUnit(w http.ResponseWriter, r *http.Request, name string) error {
	s, err := h.find(r.Context(), name)
	if err != nil {
		return err
	}
	if s == nil {
		return unknownUnit(name)
	}
	h.send(w, http.StatusOK, unitOf(s))
	return nil
}

// putUnit makes a unit, gives one other options, or says what it is to be.
func (h *handler) putUnit(w http.ResponseWriter, r *http.Request, name string) error {
	var u unit
	if err := read(r, &u); err != nil {
		return err
	}
	if u.Name != "" && u.Name != name {
		return badRequest("name in URL %q differs from unit name in request body %q", name, u.Name)
	}
	named, err := unitfile.ParseName(name)
	if err != nil {
		return badRequest("%v", err)
	}
	wanted, known := goal(u.DesiredState)
	switch {
	case u.DesiredState == "":
		wanted = argosyv1.UnitGoal_UNIT_GOAL_INACTIVE
	case !known:
		return badRequest("desiredState %q is none: it is inactive, loaded or launched", u.DesiredState)
	case named.IsTemplate() && wanted != argosyv1.UnitGoal_UNIT_GOAL_INACTIVE:
		return badRequest("%s is a template and cannot be %s itself: start an instance of it, such as %s", name, u.DesiredState, instance(named))
	}
	current, err := h.find(r.Context(), name)
	if err != nil {
		return err
	}
	switch {
	case current == nil && len(u.Options) == 0:
		return &statusError{http.StatusConflict, "unit does not exist and options field empty"}
	case current == nil, len(u.Options) > 0 && !slices.Equal(u.Options, options(current)):
		return h.submit(w, r, name, u.Options, wanted)
	case u.DesiredState == "":
		return &statusError{http.StatusConflict, "must provide DesiredState to update existing unit"}
	}
	if _, err := h.c.SetUnitGoal(r.Context(), &argosyv1.SetUnitGoalRequest{Name: name, Goal: wanted}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func instance(template unitfile.Name) string {
	n, err := template.Of("1")
	if err != nil {
		return template.Full
	}
	return n.Full
}

func (h *handler) submit(w http.ResponseWriter, r *http.Request, name string, opts []option, wanted argosyv1.UnitGoal) error {
	said := make([]*argosyv1.UnitOption, 0, len(opts))
	for _, o := range opts {
		said = append(said, &argosyv1.UnitOption{Section: o.Section, Name: o.Name, Value: o.Value})
	}
	if _, err := h.c.SubmitUnit(r.Context(), &argosyv1.SubmitUnitRequest{Name: name, Options: said, Goal: wanted}); err != nil {
		var rpc *connect.Error
		if errors.As(err, &rpc) && rpc.Code() == connect.CodeFailedPrecondition {
			return badRequest("%s", rpc.Message()) // what the cluster can never run, fleet called an invalid entity
		}
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (h *handler) destroyUnit(w http.ResponseWriter, r *http.Request, name string) error {
	s, err := h.find(r.Context(), name)
	if err != nil {
		return err
	}
	if s == nil {
		return unknownUnit(name)
	}
	if _, err := h.c.DeleteApp(r.Context(), &argosyv1.DeleteAppRequest{App: name}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
