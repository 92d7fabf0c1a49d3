package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// File is one that a target has.
type File struct {
	Name string
	Size int64 // bytes
	Time time.Time
}

// Target keeps files. A file is there as a whole or not at all.
type Target interface {
	// Put makes a file of what write writes; one of that name is replaced.
	Put(ctx context.Context, name string, write func(io.Writer) error) error
	// List lists files of any name, in no order.
	List(ctx context.Context) ([]File, error)
	// Get opens a file and says how large it is.
	Get(ctx context.Context, name string) (io.ReadCloser, int64, error)
	// Remove removes a file; one that is not there counts as removed.
	Remove(ctx context.Context, name string) error
}

// Credential opens S3-compatible storage. Its key is a secret.
type Credential struct{ ID, Key string }

// ParseCredential reads ID:KEY, as a secret of the cluster holds it.
func ParseCredential(text string) (Credential, error) {
	id, key, ok := strings.Cut(strings.TrimSpace(text), ":")
	if !ok || id == "" || key == "" || strings.ContainsAny(text, "\r\x00") {
		return Credential{}, errors.New("the credentials are not ACCESS-KEY-ID:SECRET-KEY on one line")
	}
	return Credential{id, key}, nil
}

// bucket is where an s3 target is.
type bucket struct {
	endpoint, region, name, prefix string
	plain                          bool // without TLS
}

// IsS3 says whether a target is S3-compatible storage, which needs credentials.
func IsS3(to string) bool { return strings.HasPrefix(to, "s3:") }

// Check says what is wrong with the name of a target, which may not exist or answer all the same.
func Check(to string) error {
	if IsS3(to) {
		_, err := parseBucket(to)
		return err
	}
	if !filepath.IsAbs(to) || filepath.Clean(to) != to || len(to) > 1024 || strings.ContainsAny(to, "\x00\n") {
		return fmt.Errorf("%.80q is neither the absolute path of a directory nor s3://BUCKET/PREFIX?endpoint=https://HOST", to)
	}
	return nil
}

func parseBucket(to string) (bucket, error) {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.User != nil || u.Fragment != "" || u.Port() != "" || len(to) > 1024 {
		return bucket{}, fmt.Errorf("%.80q is not s3://BUCKET/PREFIX?endpoint=https://HOST", to)
	}
	b := bucket{endpoint: "s3.amazonaws.com", name: u.Host, prefix: strings.Trim(u.Path, "/")}
	if b.prefix != "" {
		b.prefix += "/"
	}
	for key, values := range u.Query() {
		if len(values) != 1 {
			return bucket{}, fmt.Errorf("%s is there %d times in %.80q", key, len(values), to)
		}
		switch key {
		case "region":
			b.region = values[0]
		case "endpoint":
			e, err := url.Parse(values[0])
			if err != nil || e.Scheme != "https" && e.Scheme != "http" || e.Host == "" || e.User != nil || strings.Trim(e.Path, "/") != "" || e.RawQuery != "" {
				return bucket{}, fmt.Errorf("the endpoint %.80q is not https://HOST or https://HOST:PORT", values[0])
			}
			b.endpoint, b.plain = e.Host, e.Scheme == "http"
		default:
			return bucket{}, fmt.Errorf("%.40q means nothing in %.80q: there are endpoint and region", key, to)
		}
	}
	return b, nil
}

// Split tells a file of a target from the target: s3://BUCKET/PREFIX/FILE?endpoint=https://HOST.
func Split(file string) (to, name string, err error) {
	path, query, asked := strings.Cut(file, "?")
	i := strings.LastIndexByte(path, '/')
	if to, name = path[:max(i, 0)], path[i+1:]; name == "" || to == "s3:/" {
		return "", "", fmt.Errorf("%.80q names no file: write s3://BUCKET/PREFIX/FILE?endpoint=https://HOST", file)
	}
	if asked {
		to += "?" + query
	}
	return to, name, nil
}

// Open is the target of that name. It does not look whether it is there.
func Open(to string, c Credential) (Target, error) {
	if err := Check(to); err != nil {
		return nil, err
	}
	if !IsS3(to) {
		return dir(to), nil
	}
	b, err := parseBucket(to)
	if err != nil {
		return nil, err
	}
	return openS3(b, c, nil)
}
