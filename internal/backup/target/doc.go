// Package target is where backups are kept: a directory of the servers, or S3-compatible storage.
//
//	t, err := target.Open("s3://bucket/prefix?endpoint=https://s3.example", target.Credential{…})
//	err = t.Put(ctx, name, func(w io.Writer) error { … })
//	files, err := t.List(ctx)
package target
