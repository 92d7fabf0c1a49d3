package fleetapi

import (
	"net/http"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// unitState is fleet's UnitState entity.
type unitState struct {
	Hash               string `json:"hash,omitempty"`
	MachineID          string `json:"machineID,omitempty"`
	Name               string `json:"name,omitempty"`
	SystemdActiveState string `json:"systemdActiveState,omitempty"`
	SystemdLoadState   string `json:"systemdLoadState,omitempty"`
	SystemdSubState    string `json:"systemdSubState,omitempty"`
}

type statePage struct {
	NextPageToken string      `json:"nextPageToken,omitempty"`
	States        []unitState `json:"states"`
}

// stateOf is how a unit is on a machine, in systemd's words; what nobody has seen lately is `unknown` in each of them.
func stateOf(s *argosyv1.UnitStatus, c *argosyv1.UnitCopy) unitState {
	st := unitState{Hash: s.Hash, Name: s.Name, MachineID: c.GetMachine()}
	switch seen := c.GetObservation(); {
	case c == nil:
		st.SystemdLoadState, st.SystemdActiveState, st.SystemdSubState = "not-found", "inactive", "dead"
	case seen == nil && c.State == argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED:
		st.SystemdLoadState, st.SystemdActiveState, st.SystemdSubState = "unknown", "unknown", "unknown"
	case seen == nil: // on its way there
		st.SystemdLoadState, st.SystemdActiveState, st.SystemdSubState = "not-found", "inactive", "dead"
	default:
		st.SystemdLoadState, st.SystemdActiveState, st.SystemdSubState = seen.LoadState, seen.ActiveState, seen.SubState
	}
	return st
}

func (h *handler) listStates(w http.ResponseWriter, r *http.Request, _ string) error {
	n, err := page(r)
	if err != nil {
		return err
	}
	q := &argosyv1.ListUnitsRequest{Machine: r.URL.Query().Get("machineID"), Brief: true, PlacedOnly: true,
		Offset: uint32(n-1) * pageSize, Limit: pageSize}
	if name := r.URL.Query().Get("unitName"); name != "" {
		q.Names = []string{name}
	}
	list, err := h.c.ListUnits(r.Context(), q)
	if err != nil {
		return err
	}
	// A page has the states of as many units; one of every machine has as many as it has copies.
	out := statePage{States: make([]unitState, 0, len(list.Units)), NextPageToken: token(n, list.More)}
	for _, s := range list.Units {
		for _, c := range s.Copies {
			out.States = append(out.States, stateOf(s, c))
		}
	}
	h.send(w, http.StatusOK, out)
	return nil
}

func (h *handler) getState(w http.ResponseWriter, r *http.Request, name string) error {
	s, err := h.find(r.Context(), name)
	if err != nil {
		return err
	}
	if s == nil {
		return unknownUnit(name)
	}
	var c *argosyv1.UnitCopy
	if len(s.Copies) > 0 {
		c = s.Copies[0]
	}
	h.send(w, http.StatusOK, stateOf(s, c))
	return nil
}
