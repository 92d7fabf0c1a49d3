package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/argosy-cluster/argosy/internal/image/blobs"
)

// Error is an error of the protocol, as the Handler answers and the Client returns it.
type Error struct {
	Status  int    // of HTTP
	Code    string // of the protocol: BLOB_UNKNOWN
	Message string
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return e.Message
}

type errorBody struct {
	Errors []errorItem `json:"errors"`
}

type errorItem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// protocolError translates an error of the store, of which it was asked for something of kind k.
func protocolError(k kind, err error) *Error {
	var (
		already  *Error
		tooLarge *http.MaxBytesError
		offset   *blobs.OffsetError
		digest   *blobs.DigestError
		missing  *blobs.MissingError
	)
	e := &Error{Message: err.Error()}
	switch {
	case errors.As(err, &already):
		return already
	case errors.As(err, &tooLarge), errors.Is(err, blobs.ErrTooLarge):
		e.Status, e.Code = http.StatusRequestEntityTooLarge, "SIZE_INVALID"
	case errors.As(err, &offset):
		e.Status, e.Code = http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID"
	case errors.As(err, &digest):
		e.Status, e.Code = http.StatusBadRequest, "DIGEST_INVALID"
	case errors.As(err, &missing):
		e.Status, e.Code = http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN"
	case errors.Is(err, blobs.ErrUnknown):
		e.Status, e.Code = http.StatusNotFound, unknownCode(k)
	case errors.Is(err, blobs.ErrBusy):
		e.Status, e.Code = http.StatusConflict, "BLOB_UPLOAD_INVALID"
	case errors.Is(err, blobs.ErrFull):
		e.Status, e.Code = http.StatusInsufficientStorage, "DENIED"
	case errors.Is(err, blobs.ErrInvalid) && k == kindManifest:
		e.Status, e.Code = http.StatusBadRequest, "MANIFEST_INVALID"
	case errors.Is(err, blobs.ErrInvalid):
		e.Status, e.Code = http.StatusBadRequest, "NAME_INVALID"
	default:
		// The reason is for the server's log: it may hold paths and other tenants' names.
		e.Status, e.Code, e.Message = http.StatusInternalServerError, "UNKNOWN", "the server could not do it; its log says why"
	}
	return e
}

func unknownCode(k kind) string {
	switch k {
	case kindManifest:
		return "MANIFEST_UNKNOWN"
	case kindUpload, kindUploads:
		return "BLOB_UPLOAD_UNKNOWN"
	case kindBlob:
		return "BLOB_UNKNOWN"
	}
	return "NAME_UNKNOWN"
}

func (e *Error) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	// The peer may be gone already; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(errorBody{[]errorItem{{e.Code, e.Message}}})
}
