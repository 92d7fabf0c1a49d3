package fleetapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// machine is fleet's Machine entity.
type machine struct {
	ID        string            `json:"id,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	PrimaryIP string            `json:"primaryIP,omitempty"`
}

type machinePage struct {
	Machines      []machine `json:"machines"`
	NextPageToken string    `json:"nextPageToken,omitempty"`
}

// listMachines lists those that are there: of one that is gone, fleet knew nothing.
func (h *handler) listMachines(w http.ResponseWriter, r *http.Request, _ string) error {
	n, err := page(r)
	if err != nil {
		return err
	}
	list, err := h.c.ListMachines(r.Context(), &argosyv1.ListMachinesRequest{})
	if err != nil {
		return err
	}
	all := []machine{}
	for _, s := range list.Machines {
		if s.Condition == argosyv1.MachineCondition_MACHINE_CONDITION_READY || s.Condition == argosyv1.MachineCondition_MACHINE_CONDITION_DRAINING {
			all = append(all, machine{ID: s.GetMachine().GetId(), Metadata: s.GetMachine().GetLabels(), PrimaryIP: s.GetMachine().GetAddress()})
		}
	}
	slices.SortFunc(all, func(a, b machine) int { return strings.Compare(a.ID, b.ID) })
	machines, next := part(all, n)
	h.send(w, http.StatusOK, machinePage{Machines: machines, NextPageToken: next})
	return nil
}

// operation is one of a JSON Patch.
type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

// maxOperations bounds what one request changes.
const maxOperations = 1000

// patchMachines changes metadata. All operations are read before the first is carried out; what is said last of a key counts.
func (h *handler) patchMachines(w http.ResponseWriter, r *http.Request, _ string) error {
	var ops []operation
	if err := read(r, &ops); err != nil {
		return err
	}
	if len(ops) > maxOperations {
		return badRequest("there are %d operations; %d are allowed at once", len(ops), maxOperations)
	}
	var order []string
	changes := map[string]map[string]*string{} // by machine and key; nil is to be removed
	for i, op := range ops {
		id, key, value, err := op.read()
		if err != nil {
			return badRequest("operation %d: %v", i+1, err)
		}
		if changes[id] == nil {
			changes[id] = map[string]*string{}
			order = append(order, id)
		}
		changes[id][key] = value
	}
	list, err := h.c.ListMachines(r.Context(), &argosyv1.ListMachinesRequest{})
	if err != nil {
		return err
	}
	labels := map[string]map[string]string{}
	for _, s := range list.Machines {
		labels[s.GetMachine().GetId()] = s.GetMachine().GetLabels()
	}
	for _, id := range order {
		q := &argosyv1.LabelMachineRequest{Machine: id, Set: map[string]string{}}
		for key, value := range changes[id] {
			switch _, there := labels[id][key]; {
			case value != nil:
				q.Set[key] = *value
			case there: // that what is not there is to go, is so already
				q.Remove = append(q.Remove, key)
			}
		}
		if labels[id] != nil && len(q.Set) == 0 && len(q.Remove) == 0 {
			continue
		}
		slices.Sort(q.Remove)
		if _, err := h.c.LabelMachine(r.Context(), q); err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// read takes an operation apart. A nil value removes the key.
func (op operation) read() (id, key string, value *string, err error) {
	words := strings.Split(op.Path, "/")
	if len(words) != 4 || words[0] != "" || words[1] == "" || words[2] != "metadata" || words[3] == "" {
		return "", "", nil, badRequest("path %q is not /MACHINE/metadata/NAME", op.Path)
	}
	unescape := strings.NewReplacer("~1", "/", "~0", "~") // RFC 6901
	id, key = unescape.Replace(words[1]), unescape.Replace(words[3])
	switch op.Op {
	case "remove":
		return id, key, nil, nil
	case "add", "replace":
	default:
		return "", "", nil, badRequest("op %q is none: it is add, remove or replace", op.Op)
	}
	raw := bytes.TrimSpace(op.Value)
	var wrapped struct {
		Value *string `json:"value"`
	}
	if len(raw) > 0 && raw[0] == '{' {
		err, value = json.Unmarshal(raw, &wrapped), wrapped.Value
	} else if len(raw) > 0 {
		err = json.Unmarshal(raw, &value)
	}
	if err != nil || value == nil {
		return "", "", nil, badRequest("%s of %s has no value that is text", op.Op, op.Path)
	}
	return id, key, value, nil
}
