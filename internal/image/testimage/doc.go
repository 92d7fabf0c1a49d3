// Package testimage makes a tiny container image out of nothing: no registry, no base image, one static program.
//
// Tests and benchmarks that need a real container call Ensure and run what it returns:
//
//	ref, err := testimage.Ensure(ctx, docker)   // argosy-image-test/prog:<hash>, about 6 MB, made in a second, once
//	docker run ref serve :8080                  // see prog/main.go for everything it can do
//
// The program is compiled with the Go toolchain in PATH; the result is kept in the user's cache directory under the
// hash of its source, and Docker keeps the image under a tag made of the same hash, so a second call costs one
// inspection. Archive writes an image of any files as the tar that `docker load` reads, for images that must differ
// from each other in a controlled way.
package testimage
