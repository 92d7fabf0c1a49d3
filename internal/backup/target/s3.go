package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// partSize is how much of a file is in memory at once: one part of an upload. An upload has at most 10,000.
const partSize = 32 << 20

// s3 is a bucket of S3-compatible storage.
type s3 struct {
	client *minio.Client
	at     bucket
}

// openS3 uses a transport of the library's when it is given none.
func openS3(b bucket, c Credential, transport http.RoundTripper) (Target, error) {
	client, err := minio.New(b.endpoint, &minio.Options{Creds: credentials.NewStaticV4(c.ID, c.Key, ""), Secure: !b.plain, Region: b.region, Transport: transport})
	if err != nil {
		return nil, fmt.Errorf("s3 storage at %s: %w", b.endpoint, err)
	}
	return &s3{client, b}, nil
}

func (s *s3) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	in, out := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := write(out)
		_ = out.CloseWithError(err) // documented to return nil; without an error it is the end
		wrote <- err
	}()
	_, err := s.client.PutObject(ctx, s.at.name, s.at.prefix+name, in, -1, minio.PutObjectOptions{ContentType: "application/octet-stream", PartSize: partSize})
	_ = in.CloseWithError(errors.New("the storage takes no more")) // whoever still writes is to stop
	if writeErr := <-wrote; writeErr != nil && err == nil {
		err = writeErr
	}
	return s.wrap(err)
}

func (s *s3) List(ctx context.Context) ([]File, error) {
	var out []File
	for o := range s.client.ListObjects(ctx, s.at.name, minio.ListObjectsOptions{Prefix: s.at.prefix}) {
		if o.Err != nil {
			return nil, s.wrap(o.Err)
		}
		if name := strings.TrimPrefix(o.Key, s.at.prefix); name != "" && !strings.Contains(name, "/") {
			out = append(out, File{name, o.Size, o.LastModified})
		}
	}
	return out, nil
}

func (s *s3) Get(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	o, err := s.client.GetObject(ctx, s.at.name, s.at.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, 0, s.wrap(err)
	}
	st, err := o.Stat()
	if err != nil {
		return nil, 0, errors.Join(s.wrap(err), o.Close())
	}
	return o, st.Size, nil
}

func (s *s3) Remove(ctx context.Context, name string) error {
	return s.wrap(s.client.RemoveObject(ctx, s.at.name, s.at.prefix+name, minio.RemoveObjectOptions{}))
}

// wrap says where it was that something failed.
func (s *s3) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("bucket %s at %s: %w", s.at.name, s.at.endpoint, err)
}
