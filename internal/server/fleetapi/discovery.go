package fleetapi

import "net/http"

// discovery describes the API in the form of Google's API discovery service, version 1, which fleet's clients were generated
// from. Like fleet's own, it has an address that cannot be used: who asks knows where it asked.
func (h *handler) discovery(w http.ResponseWriter, _ *http.Request, _ string) error {
	h.send(w, http.StatusOK, discoveryDocument())
	return nil
}

type object = map[string]any

func discoveryDocument() object {
	return object{
		"kind": "discovery#restDescription", "discoveryVersion": "v1", "protocol": "rest",
		"id": "fleet:v1", "name": "schema", "version": "v1", "title": "fleet API", "description": "", "documentationLink": "http://github.com/coreos/fleet",
		"icons": object{"x16": "", "x32": ""}, "labels": []any{}, "parameters": object{}, "auth": object{},
		"rootUrl": "$ENDPOINT/", "servicePath": "fleet/v1/", "basePath": "/fleet/v1/", "baseUrl": "$ENDPOINT/fleet/v1/", "batchPath": "batch",
		"schemas": schemas(),
		"resources": object{
			"Machines": object{"methods": object{
				"List":  method("Machine.List", "Retrieve a page of Machine objects.", http.MethodGet, "machines", "", "MachinePage", "nextPageToken"),
				"Patch": method("Machine.Patch", "Change metadata of machines.", http.MethodPatch, "machines", "MachinePatch", ""),
			}},
			"Units": object{"methods": object{
				"List":   method("Unit.List", "Retrieve a page of Unit objects.", http.MethodGet, "units", "", "UnitPage", "nextPageToken"),
				"Get":    named(method("Unit.Get", "Retrieve a single Unit object.", http.MethodGet, "units/{unitName}", "", "Unit")),
				"Set":    named(method("Unit.Set", "Create or update a Unit.", http.MethodPut, "units/{unitName}", "Unit", "")),
				"Delete": named(method("Unit.Delete", "Delete the referenced Unit object.", http.MethodDelete, "units/{unitName}", "", "")),
			}},
			"UnitState": object{"methods": object{
				"List": method("UnitState.List", "Retrieve a page of UnitState objects.", http.MethodGet, "state", "", "UnitStatePage", "nextPageToken", "unitName", "machineID"),
				"Get":  named(method("UnitState.Get", "Retrieve the UnitState of one unit.", http.MethodGet, "state/{unitName}", "", "UnitState")),
			}},
		},
	}
}

// method is one of a resource; request and response name schemas, or nothing.
func method(id, description, verb, path, request, response string, query ...string) object {
	parameters := object{}
	for _, q := range query {
		parameters[q] = object{"type": "string", "location": "query"}
	}
	m := object{"id": "fleet." + id, "description": description, "httpMethod": verb, "path": path, "parameters": parameters}
	if request != "" {
		m["request"] = object{"$ref": request}
	}
	if response != "" {
		m["response"] = object{"$ref": response}
	}
	return m
}

// named gives a method the unit's name in its path.
func named(m object) object {
	m["parameters"].(object)["unitName"] = object{"type": "string", "location": "path", "required": true}
	m["parameterOrder"] = []string{"unitName"}
	return m
}

func schemas() object {
	text := object{"type": "string"}
	state := object{"type": "string", "enum": []string{"inactive", "loaded", "launched"}}
	list := func(of string) object { return object{"type": "array", "items": object{"$ref": of}} }
	out := object{}
	for id, properties := range map[string]object{
		"Machine":       {"id": text, "primaryIP": text, "metadata": object{"type": "object", "properties": object{}, "additionalProperties": text}},
		"MachinePage":   {"machines": list("Machine"), "nextPageToken": text},
		"UnitOption":    {"section": text, "name": text, "value": text},
		"Unit":          {"name": text, "options": list("UnitOption"), "desiredState": state, "currentState": state, "machineID": object{"type": "string", "required": true}},
		"UnitPage":      {"units": list("Unit"), "nextPageToken": text},
		"UnitState":     {"name": text, "hash": text, "machineID": text, "systemdLoadState": text, "systemdActiveState": text, "systemdSubState": text},
		"UnitStatePage": {"states": list("UnitState"), "nextPageToken": text},
	} {
		out[id] = object{"id": id, "type": "object", "properties": properties}
	}
	out["MachinePatch"] = object{"id": "MachinePatch", "type": "array", "items": object{"type": "object",
		"properties": object{"op": object{"type": "string", "enum": []string{"add", "remove", "replace"}}, "path": text, "value": text}}}
	return out
}
