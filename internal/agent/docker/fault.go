package docker

import (
	"context"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/pattern"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

const maxSentence = 400

// plain makes text of unknown origin fit to be shown: one line, printable, clipped.
func plain(s string) string { return clip(s, maxSentence) }

func clip(s string, most int) string {
	if len(s) > 4*most {
		s = s[:4*most]
	}
	s = strings.ToValidUTF8(s, "�")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if utf8.RuneCountInString(s) > most {
		r := []rune(s)
		s = string(r[:most-1]) + "…"
	}
	return s
}

// said takes Docker's wrapping off an error's text.
func said(err error) string {
	s := err.Error()
	for _, prefix := range []string{"Error response from daemon: ", "error during connect: "} {
		s = strings.TrimPrefix(s, prefix)
	}
	return plain(s)
}

var (
	portTaken = pattern.New(`(?i)(?:bind for|listen (?:tcp|udp)\S*) (?:\S*?):(\d+)[: ].*(?:already (?:allocated|in use))`)
	noNetwork = pattern.New(`(?i)network \S+ not found|endpoint with name .* already exists|could not find network|failed to get network`)
	// remains are what containerd keeps of a start that it died in: nobody clears it away, and it is in the container's way.
	remains     = pattern.New(`(?i)failed to start shim: mkdir \S+: file exists|(?:task|container with id) \S+ already exists`)
	notThere    = pattern.New(`(?i)executable file not found|no such file or directory: unknown|permission denied: unknown`)
	missingBind = pattern.New(`(?i)bind source path does not exist: (\S+)`)
)

// Silent says whether an error means that the Engine did not answer, so that nothing is known of what it was asked.
func Silent(err error) bool {
	return client.IsErrConnectionFailed(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// fault turns an error of the Engine into one for people. what is the sentence's beginning: "start".
func fault(what string, err error) error {
	if err == nil {
		return nil
	}
	text := said(err)
	f := &core.Fault{Message: what + ": " + text, Err: err}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		f.Message = what + ": the Docker Engine did not answer in time"
	case portTaken.MatchString(text):
		f.Message = "port " + portTaken.FindStringSubmatch(text)[1] + " of this machine is already in use by something else"
	case strings.Contains(text, "no space left on device"):
		f.Message = what + ": no space left on this machine's disk"
	case what == "create" && strings.Contains(strings.ToLower(text), "no such image"):
		f.Kind = core.FaultNoImage
	case missingBind.MatchString(text):
		f.Message = "the path " + missingBind.FindStringSubmatch(text)[1] + " does not exist on this machine"
	case what == "start" && (noNetwork.MatchString(text) || remains.MatchString(text)):
		f.Kind = core.FaultBroken
	case what == "start" && notThere.MatchString(text):
		f.Message = "its command cannot be run: " + text
	case errdefs.IsNotFound(err) && strings.Contains(strings.ToLower(text), "no such container"):
		f.Kind = core.FaultGone
	}
	return f
}
