package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/argosy-cluster/argosy/internal/image"
)

// Doer makes requests; *http.Client is one.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Client speaks to one server's Handler. What it returns of a server is bounded; digests are for the caller to check
// where it does not say otherwise. Errors that the server answered are *Error.
type Client struct {
	base string
	http Doer
}

// NewClient returns a client of the server at base, such as https://10.0.0.1:7400 without a path.
func NewClient(base string, doer Doer) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), http: doer}
}

// Repo is where in a server an image is.
type Repo struct{ Tenant, Name string }

func (r Repo) path(rest string) string { return "/v2/" + r.Tenant + "/" + r.Name + rest }

func (r Repo) check() error {
	return errors.Join(image.ValidTenant(r.Tenant), image.ValidName(r.Name))
}

const acceptManifests = image.TypeOCIManifest + ", " + image.TypeOCIIndex + ", " + image.TypeDockerManifest + ", " + image.TypeDockerList

// do makes a request; path is a path of the server or a location that it gave. An answer above 299 becomes an *Error.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader, length int64, head http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.ContentLength = length
	}
	for k, v := range head {
		req.Header[k] = v
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode <= 299 {
		return resp, nil
	}
	defer resp.Body.Close()
	return resp, answered(resp)
}

func answered(resp *http.Response) *Error {
	e := &Error{Status: resp.StatusCode}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return e
	}
	var body errorBody
	if json.Unmarshal(raw, &body) == nil && len(body.Errors) > 0 {
		e.Code, e.Message = body.Errors[0].Code, body.Errors[0].Message
	}
	return e
}

// drain reads what little is left of an answer, so that its connection can be used again.
func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	_ = resp.Body.Close()
}

// IsUnknown says whether err is a server's answer that it does not have what it was asked for.
func IsUnknown(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// Manifest fetches a manifest by tag or digest, with its media type. A manifest fetched by digest has that digest.
func (c *Client) Manifest(ctx context.Context, repo Repo, tagOrDigest string) (raw []byte, mediaType string, err error) {
	if err := repo.check(); err != nil {
		return nil, "", err
	}
	head := http.Header{"Accept": {acceptManifests}}
	resp, err := c.do(ctx, http.MethodGet, repo.path("/manifests/"+url.PathEscape(tagOrDigest)), nil, 0, head)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	raw, err = io.ReadAll(io.LimitReader(resp.Body, image.MaxManifest+1))
	if err != nil {
		return nil, "", err
	}
	m, err := image.ParseManifest(raw, "")
	if err != nil {
		return nil, "", err
	}
	if want, err := image.ParseDigest(tagOrDigest); err == nil && image.Sum(raw) != want {
		return nil, "", fmt.Errorf("the server sent manifest %s for %s", image.Sum(raw), want)
	}
	return raw, m.MediaType, nil
}

// Images lists a tenant's images in the order of their names.
func (c *Client) Images(ctx context.Context, tenant string) ([]Image, error) {
	if err := image.ValidTenant(tenant); err != nil {
		return nil, err
	}
	resp, err := c.do(ctx, http.MethodGet, "/v2/"+tenant+"/_images", nil, 0, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var all []Image
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(&all); err != nil {
		return nil, fmt.Errorf("the server's list of images is not understood: %w", err)
	}
	return all, nil
}

// Blob opens a blob at offset. The caller checks the digest of the whole.
func (c *Client) Blob(ctx context.Context, repo Repo, d image.Digest, offset int64) (io.ReadCloser, error) {
	if err := repo.check(); err != nil {
		return nil, err
	}
	head := http.Header{}
	if offset > 0 {
		head.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := c.do(ctx, http.MethodGet, repo.path("/blobs/"+string(d)), nil, 0, head)
	if err != nil {
		return nil, err
	}
	if offset > 0 && !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)) {
		return nil, errors.Join(fmt.Errorf("the server did not go on at byte %d of %s", offset, d), resp.Body.Close())
	}
	return resp.Body, nil
}

// PutManifest sends a manifest and names it repo:tag; with an empty tag it gets no name.
func (c *Client) PutManifest(ctx context.Context, repo Repo, tag, mediaType string, raw []byte) (image.Digest, error) {
	if err := repo.check(); err != nil {
		return "", err
	}
	d := image.Sum(raw)
	if tag == "" {
		tag = string(d)
	} else if err := image.ValidTag(tag); err != nil {
		return "", err
	}
	head := http.Header{"Content-Type": {mediaType}}
	resp, err := c.do(ctx, http.MethodPut, repo.path("/manifests/"+tag), bytes.NewReader(raw), int64(len(raw)), head)
	if err != nil {
		return "", err
	}
	drain(resp)
	return d, nil
}

// Untag takes a name from an image.
func (c *Client) Untag(ctx context.Context, repo Repo, tag string) error {
	if err := errors.Join(repo.check(), image.ValidTag(tag)); err != nil {
		return err
	}
	resp, err := c.do(ctx, http.MethodDelete, repo.path("/manifests/"+tag), nil, 0, nil)
	if err != nil {
		return err
	}
	drain(resp)
	return nil
}

// Upload is an upload that a server has begun: where it goes on, and how much is there.
type Upload struct {
	location string
	At       int64
}

// Claim asks for blob d to be kept for a manifest that is about to come. If the server lacks it, the Upload returned is
// where to send it; it may stand above zero because part of it came earlier.
func (c *Client) Claim(ctx context.Context, repo Repo, d image.Digest) (*Upload, error) {
	if err := repo.check(); err != nil {
		return nil, err
	}
	query := url.Values{"mount": {string(d)}, "from": {repo.Tenant + "/" + repo.Name}, "resume": {"1"}}
	resp, err := c.do(ctx, http.MethodPost, repo.path("/blobs/uploads/?"+query.Encode()), nil, 0, nil)
	if err != nil {
		return nil, err
	}
	defer drain(resp)
	if resp.StatusCode == http.StatusCreated {
		return nil, nil
	}
	return c.upload(resp)
}

// upload reads where an upload stands. A location on another host than this server's is refused.
func (c *Client) upload(resp *http.Response) (*Upload, error) {
	at, err := strconv.ParseInt(resp.Header.Get(offsetHeader), 10, 64)
	if err != nil || at < 0 {
		return nil, fmt.Errorf("the server does not say how much it has (%s is %q): it is not an Argosy server", offsetHeader, resp.Header.Get(offsetHeader))
	}
	loc := strings.TrimPrefix(resp.Header.Get("Location"), c.base)
	if !strings.HasPrefix(loc, "/v2/") {
		return nil, fmt.Errorf("the server wants the upload at %q, which is elsewhere", resp.Header.Get("Location"))
	}
	return &Upload{location: loc, At: at}, nil
}

// Append sends the next n bytes of the upload, and returns where it then stands.
func (c *Client) Append(ctx context.Context, up *Upload, r io.Reader, n int64) (*Upload, error) {
	head := http.Header{
		"Content-Type":  {"application/octet-stream"},
		"Content-Range": {fmt.Sprintf("%d-%d", up.At, up.At+n-1)},
	}
	resp, err := c.do(ctx, http.MethodPatch, up.location, r, n, head)
	if err != nil {
		return nil, err
	}
	defer drain(resp)
	return c.upload(resp)
}

// Commit ends the upload: the server verifies that it has digest d.
func (c *Client) Commit(ctx context.Context, up *Upload, d image.Digest) error {
	resp, err := c.do(ctx, http.MethodPut, up.location+"?digest="+url.QueryEscape(string(d)), nil, 0, nil)
	if err != nil {
		return err
	}
	drain(resp)
	return nil
}
