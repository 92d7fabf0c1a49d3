package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/blobs"
)

func (h *Handler) putManifest(w http.ResponseWriter, r *http.Request, t target) error {
	body := newPatientReader(w, http.MaxBytesReader(w, r.Body, image.MaxManifest), h.opts.Idle)
	raw, err := io.ReadAll(body)
	body.done()
	if err != nil {
		return badBody(err)
	}
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if got := image.Sum(raw); t.digest != "" && got != t.digest {
		return &Error{http.StatusBadRequest, "DIGEST_INVALID", "the manifest is " + string(got) + ", not " + string(t.digest)}
	}
	tag := t.tag
	if h.opts.Named != nil {
		tag = "" // it gets its name here when it has it elsewhere: a name that Named refuses must not change its meaning
	}
	d, err := h.store.PutManifest(t.tenant, t.name, tag, strings.TrimSpace(mediaType), raw)
	if err != nil {
		return err
	}
	if t.tag != "" && h.opts.Named != nil {
		if err := h.opts.Named(r.Context(), t.tenant, t.name, t.tag, d); err != nil {
			return &Error{http.StatusServiceUnavailable, "UNAVAILABLE", err.Error()}
		}
		if err := h.store.Tag(t.tenant, t.name, t.tag, d); err != nil {
			return err
		}
	}
	h.opts.Log.InfoContext(r.Context(), "image received", "tenant", t.tenant, "name", t.name, "tag", t.tag, "digest", d)
	w.Header().Set("Location", "/v2/"+t.tenant+"/"+t.name+"/manifests/"+string(d))
	w.Header().Set("Docker-Content-Digest", string(d))
	w.WriteHeader(http.StatusCreated)
	return nil
}

// badBody is the answer when a body could not be read, which the store has not seen.
func badBody(err error) error {
	e := protocolError(kindManifest, err)
	if e.Status == http.StatusInternalServerError {
		e = &Error{http.StatusBadRequest, "SIZE_INVALID", "the request ended early: " + err.Error()}
	}
	return e
}

func (h *Handler) untag(w http.ResponseWriter, r *http.Request, t target) error {
	if t.tag == "" {
		return &Error{http.StatusBadRequest, "UNSUPPORTED", "delete a name, not a digest; what has no name and no use goes by itself"}
	}
	switch there, err := h.store.HasName(t.tenant, t.name, t.tag); {
	case err != nil:
		return err
	case !there:
		return fmt.Errorf("image %s:%s of tenant %s: %w", t.name, t.tag, t.tenant, blobs.ErrUnknown)
	}
	if h.opts.Unnamed != nil {
		if err := h.opts.Unnamed(r.Context(), t.tenant, t.name, t.tag); err != nil {
			return &Error{http.StatusServiceUnavailable, "UNAVAILABLE", err.Error()}
		}
	}
	// Whoever follows the names that Unnamed changes may have taken this one away already.
	if err := h.store.Untag(t.tenant, t.name, t.tag); err != nil && !errors.Is(err, blobs.ErrUnknown) {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// start begins an upload; or, asked to mount a blob that the tenant has, needs none.
func (h *Handler) start(w http.ResponseWriter, r *http.Request, t target) error {
	q := r.URL.Query()
	if all := q.Get("digest"); all != "" {
		return h.startAndCommit(w, r, t, all)
	}
	var resume image.Digest
	if mount := q.Get("mount"); mount != "" {
		d, err := image.ParseDigest(mount)
		if err != nil {
			return &Error{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
		}
		there, err := h.store.Claim(t.tenant, d)
		if err != nil {
			return err
		}
		if there {
			created(w, t, d)
			return nil
		}
		if q.Get("resume") == "1" {
			resume = d
		}
	}
	id, at, err := h.store.Start(t.tenant, resume)
	if err != nil {
		return err
	}
	t.upload = id
	progress(w, t, at, http.StatusAccepted)
	return nil
}

func (h *Handler) startAndCommit(w http.ResponseWriter, r *http.Request, t target, digest string) error {
	id, _, err := h.store.Start(t.tenant, "")
	if err != nil {
		return err
	}
	t.upload = id
	r.Header.Del("Content-Range")
	if _, err := h.receive(w, r, t); err != nil {
		// Nobody knows this upload's id, so nobody can go on with it.
		_ = h.store.Cancel(t.tenant, id)
		return err
	}
	return h.finish(w, t, digest)
}

// receive appends the request's body to the upload.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request, t target) (at int64, err error) {
	offset := int64(-1)
	if cr := r.Header.Get("Content-Range"); cr != "" {
		from, _, ok := strings.Cut(strings.TrimPrefix(cr, "bytes "), "-")
		offset, err = strconv.ParseInt(from, 10, 64)
		if err != nil || !ok || offset < 0 {
			return 0, &Error{http.StatusBadRequest, "RANGE_INVALID", "Content-Range is not FIRST-LAST"}
		}
	}
	body := newPatientReader(w, r.Body, h.opts.Idle)
	defer body.done()
	at, err = h.store.Append(t.tenant, t.upload, offset, body)
	if err != nil {
		w.Header().Set("Range", rangeOf(at))
		w.Header().Set(offsetHeader, strconv.FormatInt(at, 10))
		if body.failed != nil {
			return at, badBody(err)
		}
	}
	return at, err
}

func (h *Handler) patch(w http.ResponseWriter, r *http.Request, t target) error {
	at, err := h.receive(w, r, t)
	if err != nil {
		return err
	}
	progress(w, t, at, http.StatusAccepted)
	return nil
}

func (h *Handler) commit(w http.ResponseWriter, r *http.Request, t target) error {
	if r.ContentLength != 0 {
		if _, err := h.receive(w, r, t); err != nil {
			return err
		}
	}
	return h.finish(w, t, r.URL.Query().Get("digest"))
}

func (h *Handler) finish(w http.ResponseWriter, t target, digest string) error {
	d, err := image.ParseDigest(digest)
	if err != nil {
		return &Error{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	}
	if err := h.store.Commit(t.tenant, t.upload, d); err != nil {
		return err
	}
	created(w, t, d)
	return nil
}

func (h *Handler) uploadStatus(w http.ResponseWriter, _ *http.Request, t target) error {
	at, err := h.store.Offset(t.tenant, t.upload)
	if err != nil {
		return err
	}
	progress(w, t, at, http.StatusNoContent)
	return nil
}

func (h *Handler) cancel(w http.ResponseWriter, _ *http.Request, t target) error {
	if err := h.store.Cancel(t.tenant, t.upload); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func created(w http.ResponseWriter, t target, d image.Digest) {
	w.Header().Set("Location", "/v2/"+t.tenant+"/"+t.name+"/blobs/"+string(d))
	w.Header().Set("Docker-Content-Digest", string(d))
	w.WriteHeader(http.StatusCreated)
}

// progress answers where the upload stands.
func progress(w http.ResponseWriter, t target, at int64, status int) {
	w.Header().Set("Location", "/v2/"+t.tenant+"/"+t.name+"/blobs/uploads/"+t.upload)
	w.Header().Set("Docker-Upload-UUID", t.upload)
	w.Header().Set("Range", rangeOf(at))
	w.Header().Set(offsetHeader, strconv.FormatInt(at, 10))
	w.WriteHeader(status)
}

func rangeOf(at int64) string { return "0-" + strconv.FormatInt(max(at-1, 0), 10) }
