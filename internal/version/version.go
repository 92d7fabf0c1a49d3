// Package version says which Argosy this is.
package version

// Version is set by the build: -ldflags "-X …/internal/version.Version=v1.2.3".
var Version = "0.1.0-dev"
