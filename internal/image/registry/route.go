package registry

import (
	"errors"
	"fmt"
	"strings"

	"github.com/argosy-cluster/argosy/internal/image"
)

type kind int

const (
	kindPing     kind = iota // /v2/
	kindManifest             // …/manifests/TAG|DIGEST: tag or digest is set
	kindBlob                 // …/blobs/DIGEST: digest is set
	kindUploads              // …/blobs/uploads/
	kindUpload               // …/blobs/uploads/ID: upload is set
	kindTags                 // …/tags/list
	kindImages               // /v2/TENANT/_images: no name is set
)

// target is what a path of the protocol points at. Its tenant, name, tag and digest are valid; upload is any text
// without a slash.
type target struct {
	kind              kind
	tenant, name, tag string
	digest            image.Digest
	upload            string
}

var errNoSuchPath = errors.New("there is nothing at this path; images are at /v2/TENANT/NAME/")

// parse takes a path apart from its end, because a name may itself contain words of the protocol.
func parse(path string) (target, error) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if path == "/v2" || rest == "" && ok {
		return target{kind: kindPing}, nil
	}
	if !ok || len(path) > 1024 {
		return target{}, errNoSuchPath
	}
	seg := strings.Split(rest, "/")
	n := len(seg)
	if n == 2 && seg[1] == "_images" {
		return target{kind: kindImages, tenant: seg[0]}, image.ValidTenant(seg[0])
	}
	if n < 4 {
		return target{}, errNoSuchPath
	}
	t := target{tenant: seg[0]}
	last, before := seg[n-1], seg[n-2]
	name, err := seg[1:n-2], error(nil)
	switch {
	case before == "tags" && last == "list":
		t.kind = kindTags
	case before == "manifests":
		t.kind = kindManifest
		if strings.Contains(last, ":") {
			t.digest, err = image.ParseDigest(last)
		} else {
			t.tag, err = last, image.ValidTag(last)
		}
	case before == "blobs" && last == "uploads":
		t.kind = kindUploads
	case before == "uploads" && seg[n-3] == "blobs":
		name = seg[1 : n-3]
		t.kind, t.upload = kindUpload, last
		if last == "" {
			t.kind = kindUploads
		}
	case before == "blobs":
		t.kind = kindBlob
		t.digest, err = image.ParseDigest(last)
	default:
		return target{}, errNoSuchPath
	}
	t.name = strings.Join(name, "/")
	if err := errors.Join(image.ValidTenant(t.tenant), image.ValidName(t.name), err); err != nil {
		return target{}, fmt.Errorf("the path is not understood: %w", err)
	}
	return t, nil
}
