package dispatcher

import argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"

// Stream is a machine's session as the server sees it; connect's BidiStream of AgentService.Session is one. Send and
// Receive may be called at the same time, each by one goroutine. Receive returns an error when the machine is gone or
// the context of the request ends.
type Stream interface {
	Send(*argosyv1.SessionResponse) error
	Receive() (*argosyv1.SessionRequest, error)
}
