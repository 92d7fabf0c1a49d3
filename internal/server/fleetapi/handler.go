package fleetapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"strings"

	"connectrpc.com/connect"
)

// maxBody is the largest body of a request, in bytes.
const maxBody = 1 << 20

// prefixes are where the API is served.
var prefixes = [...]string{"/fleet/v1/", "/v1-alpha/"}

// Handler serves the API.
func Handler(c Cluster, log *slog.Logger) http.Handler {
	h := &handler{c: c, log: log}
	mux := http.NewServeMux()
	for _, prefix := range prefixes {
		mux.Handle(prefix, http.StripPrefix(strings.TrimSuffix(prefix, "/"), h))
		mux.Handle(strings.TrimSuffix(prefix, "/"), h.refuse(http.StatusMethodNotAllowed, "ask for units, state, machines or discovery below this"))
	}
	mux.Handle("/", h.refuse(http.StatusNotFound, "the API is below /fleet/v1/"))
	return mux
}

type handler struct {
	c   Cluster
	log *slog.Logger
}

// ServeHTTP answers a request whose path begins after the prefix.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	resource, item, hasItem := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	methods, ok := h.methods(resource, hasItem)
	switch f := methods[r.Method]; {
	case !ok || hasItem && (item == "" || strings.Contains(item, "/")):
		h.fail(w, r, &statusError{http.StatusNotFound, "there is no such resource"})
	case f == nil:
		h.fail(w, r, &statusError{http.StatusMethodNotAllowed, fmt.Sprintf("%s is not supported here", r.Method)})
	default:
		if err := f(w, r, item); err != nil {
			h.fail(w, r, err)
		}
	}
}

// answer answers a request, or fails before anything is written.
type answer func(w http.ResponseWriter, r *http.Request, item string) error

func (h *handler) methods(resource string, item bool) (map[string]answer, bool) {
	switch {
	case resource == "units" && !item:
		return map[string]answer{http.MethodGet: h.listUnits}, true
	case resource == "units":
		return map[string]answer{http.MethodGet: h.getUnit, http.MethodPut: h.putUnit, http.MethodDelete: h.destroyUnit}, true
	case resource == "state" && !item:
		return map[string]answer{http.MethodGet: h.listStates}, true
	case resource == "state":
		return map[string]answer{http.MethodGet: h.getState}, true
	case resource == "machines" && !item:
		return map[string]answer{http.MethodGet: h.listMachines, http.MethodPatch: h.patchMachines}, true
	case resource == "discovery" && !item:
		return map[string]answer{http.MethodGet: h.discovery}, true
	}
	return nil, false
}

// statusError is an answer that is not what was asked for.
type statusError struct {
	code    int
	message string
}

func (e *statusError) Error() string { return e.message }

func badRequest(format string, args ...any) error {
	return &statusError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func unknownUnit(name string) error {
	return &statusError{http.StatusNotFound, fmt.Sprintf("unit %s does not exist", name)}
}

// errorEntity is how fleet says what is wrong.
type errorEntity struct {
	Error struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e errorEntity
	e.Error.Code, e.Error.Message = http.StatusInternalServerError, err.Error()
	var status *statusError
	var tooLarge *http.MaxBytesError
	var rpc *connect.Error
	switch {
	case errors.As(err, &status):
		e.Error.Code = status.code
	case errors.As(err, &tooLarge):
		e.Error.Code, e.Error.Message = http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)
	case errors.As(err, &rpc):
		e.Error.Code, e.Error.Message = httpStatus(rpc.Code()), rpc.Message()
	}
	if e.Error.Code == http.StatusInternalServerError {
		h.log.WarnContext(r.Context(), "a request of fleet's API failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	h.send(w, e.Error.Code, e)
}

// httpStatus is what fleet's clients are told of an error of argosy.v1.
func httpStatus(c connect.Code) int {
	switch c {
	case connect.CodeInvalidArgument:
		return http.StatusBadRequest
	case connect.CodeNotFound:
		return http.StatusNotFound
	case connect.CodeAlreadyExists, connect.CodeAborted, connect.CodeFailedPrecondition:
		return http.StatusConflict
	case connect.CodeUnauthenticated:
		return http.StatusUnauthorized
	case connect.CodePermissionDenied:
		return http.StatusForbidden
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeResourceExhausted:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func (h *handler) refuse(code int, message string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.fail(w, r, &statusError{code, message}) })
}

// send writes v as the whole answer. A caller that is gone by now needs no answer.
func (h *handler) send(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		h.log.Error("writing JSON", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(b)
}

// read decodes the body of a request, which has to call itself JSON.
func read(r *http.Request, into any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || len(r.Header["Content-Type"]) != 1 {
		return &statusError{http.StatusUnsupportedMediaType, "the only acceptable Content-Type is application/json"}
	}
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return err
		}
		return badRequest("unable to decode body: %v", err)
	}
	return nil
}
