package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/blobs"
)

// Action is what a request wants to do with a tenant's images.
type Action string

// The actions that Authorize is asked about.
const (
	Pull   Action = "pull"
	Push   Action = "push"
	Delete Action = "delete"
)

// Options of a Handler.
type Options struct {
	// Authorize says whether the peer of the request may do this with the tenant's images. Its error is shown to the
	// peer. Nil refuses everything.
	Authorize func(r *http.Request, tenant string, action Action) error
	// Named and Unnamed are told of a name that was given or taken away, before the peer is; an error is the peer's
	// answer, which then tries again. Both may be nil.
	Named   func(ctx context.Context, tenant, name, tag string, d image.Digest) error
	Unnamed func(ctx context.Context, tenant, name, tag string) error
	// Log gets what went wrong inside; never nil.
	Log *slog.Logger
	// Idle is how long a peer may neither send nor take a byte; default one minute.
	Idle time.Duration
}

// Handler serves a store under /v2/.
type Handler struct {
	store *blobs.Store
	opts  Options
}

// NewHandler returns a handler that serves store.
func NewHandler(store *blobs.Store, opts Options) *Handler {
	if opts.Idle == 0 {
		opts.Idle = time.Minute
	}
	return &Handler{store: store, opts: opts}
}

// offsetHeader is the number of bytes of an upload that the server has.
const offsetHeader = "Argosy-Offset"

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	t, err := parse(r.URL.Path)
	if err != nil {
		(&Error{http.StatusNotFound, "NAME_INVALID", err.Error()}).write(w)
		return
	}
	action, serve := h.choose(t.kind, r.Method)
	if serve == nil {
		(&Error{http.StatusMethodNotAllowed, "UNSUPPORTED", "this path does not do " + r.Method}).write(w)
		return
	}
	if t.kind != kindPing {
		if err := h.authorize(r, t.tenant, action); err != nil {
			err.write(w)
			return
		}
	}
	if err := serve(w, r, t); err != nil {
		e := protocolError(t.kind, err)
		if e.Status >= http.StatusInternalServerError {
			h.opts.Log.ErrorContext(r.Context(), "image request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		}
		e.write(w)
	}
}

func (h *Handler) authorize(r *http.Request, tenant string, a Action) *Error {
	if h.opts.Authorize == nil {
		return &Error{http.StatusForbidden, "DENIED", "this server gives nobody access to images"}
	}
	if err := h.opts.Authorize(r, tenant, a); err != nil {
		var e *Error
		if errors.As(err, &e) {
			return e
		}
		return &Error{http.StatusForbidden, "DENIED", err.Error()}
	}
	return nil
}

type serveFunc func(w http.ResponseWriter, r *http.Request, t target) error

// choose returns what a method does at a path of that kind, or nil.
func (h *Handler) choose(k kind, method string) (Action, serveFunc) {
	switch k {
	case kindPing:
		if method == http.MethodGet || method == http.MethodHead {
			return Pull, ping
		}
	case kindTags:
		if method == http.MethodGet {
			return Pull, h.tags
		}
	case kindImages:
		if method == http.MethodGet {
			return Pull, h.images
		}
	case kindBlob:
		if method == http.MethodGet || method == http.MethodHead {
			return Pull, h.blob
		}
	case kindManifest:
		switch method {
		case http.MethodGet, http.MethodHead:
			return Pull, h.manifest
		case http.MethodPut:
			return Push, h.putManifest
		case http.MethodDelete:
			return Delete, h.untag
		}
	case kindUploads:
		if method == http.MethodPost {
			return Push, h.start
		}
	case kindUpload:
		switch method {
		case http.MethodGet:
			return Push, h.uploadStatus
		case http.MethodPatch:
			return Push, h.patch
		case http.MethodPut:
			return Push, h.commit
		case http.MethodDelete:
			return Push, h.cancel
		}
	}
	return "", nil
}

func ping(w http.ResponseWriter, _ *http.Request, _ target) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := io.WriteString(w, "{}")
	return ignoreGone(err)
}

// ignoreGone drops the error of writing to a peer that went away: there is nobody to answer.
func ignoreGone(error) error { return nil }

func (h *Handler) tags(w http.ResponseWriter, _ *http.Request, t target) error {
	all, err := h.store.List(t.tenant)
	if err != nil {
		return err
	}
	answer := struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{Name: t.tenant + "/" + t.name, Tags: []string{}}
	for _, n := range all {
		if n.Name == t.name {
			answer.Tags = append(answer.Tags, n.Tag)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	return ignoreGone(json.NewEncoder(w).Encode(answer))
}

// Image is a name that a tenant's images have. It is what GET /v2/TENANT/_images lists.
type Image struct {
	Name   string       `json:"name"`
	Tag    string       `json:"tag"`
	Digest image.Digest `json:"digest"`
	Size   int64        `json:"size"`  // bytes, layers shared with other images included; -1 if it is not known
	Since  time.Time    `json:"since"` // when the name took this meaning
}

func (h *Handler) images(w http.ResponseWriter, _ *http.Request, t target) error {
	all, err := h.store.List(t.tenant)
	if err != nil {
		return err
	}
	answer := []Image{}
	for _, n := range all {
		answer = append(answer, Image(n))
	}
	w.Header().Set("Content-Type", "application/json")
	return ignoreGone(json.NewEncoder(w).Encode(answer))
}

// Lacks reports whether a path is that of a part of an image which a store does not have.
func Lacks(store *blobs.Store, path string) bool {
	t, err := parse(path)
	if err != nil {
		return false
	}
	switch t.kind {
	case kindManifest:
		_, ok, err := store.Resolve(t.tenant, image.Ref{Name: t.name, Tag: t.tag, Digest: t.digest})
		return err == nil && !ok
	case kindBlob:
		f, _, err := store.Blob(t.tenant, t.digest)
		if err == nil {
			_ = f.Close() // only read
		}
		return errors.Is(err, blobs.ErrUnknown)
	}
	return false
}

func (h *Handler) manifest(w http.ResponseWriter, r *http.Request, t target) error {
	d, ok, err := h.store.Resolve(t.tenant, image.Ref{Name: t.name, Tag: t.tag, Digest: t.digest})
	if err != nil {
		return err
	}
	if !ok {
		what := t.name + ":" + t.tag
		if t.digest != "" {
			what = t.name + "@" + string(t.digest)
		}
		return &Error{http.StatusNotFound, "MANIFEST_UNKNOWN",
			"the cluster has no image " + what + " of tenant " + t.tenant + "; send it with: argosy image load"}
	}
	raw, mediaType, err := h.store.Manifest(t.tenant, d)
	if err != nil {
		return err
	}
	head := w.Header()
	head.Set("Content-Type", mediaType)
	head.Set("Content-Length", strconv.Itoa(len(raw)))
	head.Set("Docker-Content-Digest", string(d))
	head.Set("Etag", `"`+string(d)+`"`)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = w.Write(raw)
	return ignoreGone(err)
}

func (h *Handler) blob(w http.ResponseWriter, r *http.Request, t target) error {
	f, _, err := h.store.Blob(t.tenant, t.digest)
	if err != nil {
		return err
	}
	defer f.Close()
	head := w.Header()
	head.Set("Content-Type", "application/octet-stream")
	head.Set("Docker-Content-Digest", string(t.digest))
	head.Set("Etag", `"`+string(t.digest)+`"`)
	head.Set("Cache-Control", "max-age=31536000, immutable")
	pw := newPatientWriter(w, h.opts.Idle)
	defer pw.done()
	http.ServeContent(pw, r, "", time.Time{}, f)
	return nil
}
