package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/version"
)

// origin is who named the server that a command asks.
type origin int

const (
	fromNobody origin = iota
	fromFlag
	fromEnvironment
)

func (o origin) name() string {
	return [...]string{fromNobody: "", fromFlag: "--server", fromEnvironment: "ARGOSY_SERVER"}[o]
}

// asked is where a command looked for a server, and why there.
type asked struct {
	origin origin
	// socket is set where it is a server on this host, the others where it is a login.
	socket         string
	login, cluster string
	servers        []string
	// nothing: nobody names a server, nobody is logged in, and no server runs on this host.
	nothing bool
}

func (at asked) String() string {
	where := "the socket " + at.socket
	if at.login != "" {
		where = fmt.Sprintf("the login %q (%s)", at.login, strings.Join(at.servers, ", "))
	}
	switch {
	case at.origin != fromNobody:
		return "Asked was " + where + ", which " + at.origin.name() + " names."
	case at.login != "":
		return "Asked was " + where + ", the last one on this host; neither --server nor ARGOSY_SERVER names another."
	case at.nothing:
		return "Asked was " + where + ", as always where neither --server nor ARGOSY_SERVER nor a login names a server."
	}
	return "Asked was " + where + " of the server on this host; neither --server nor ARGOSY_SERVER names another."
}

func (a *app) explainError(err error) string { return explainError(err, a.asked) }

// explainError makes of an error a plain sentence, which server was asked and who named it where that matters, and what to do next.
func explainError(err error, at asked) string {
	var unreached *unreachedError
	var broken *midwayError
	var ce *connect.Error
	say := func(what, next string) string { return what + "\n" + at.String() + "\n" + next }
	switch {
	case errors.As(err, &unreached):
		return say(unreached.sentence(at), unreached.next(at))
	case errors.As(err, &broken):
		return say("the connection to the server broke midway: "+message(broken.err),
			"What came is right, and what would have followed is not known here: run it again once the server answers.")
	case !errors.As(err, &ce):
		return err.Error()
	}
	var alert *net.OpError
	here := !connect.IsWireError(err) // the server said nothing
	switch code := ce.Code(); {
	case code == connect.CodeUnimplemented:
		return say("the server does not know this request ("+ce.Message()+"): it is older than this argosy, "+version.Version+", or no argosy server at all",
			"'argosy version' shows both versions: update the servers, or use the argosy of theirs.")
	case code == connect.CodeUnauthenticated:
		return ce.Message() + "\nLog in with 'argosy login TOKEN'; an administrator makes one with 'argosy token create --user NAME'."
	case code == connect.CodeDeadlineExceeded:
		return say("the server did not answer in time: "+ce.Message(), "'argosy status' says how the cluster is.")
	case here && errors.As(err, &alert) && alert.Op == "remote error":
		return say("the server refuses the certificate of this login: "+message(alert),
			"Are the clock of this host and the server's right? If they are, log in again with 'argosy login TOKEN'.")
	case here && (code == connect.CodeUnavailable || code == connect.CodeUnknown || code == connect.CodeCanceled):
		return say("the connection to the server failed: "+message(err),
			"Try again; if it stays so, is it an argosy server? Its log says more: 'journalctl -u argosy-server'.")
	case code == connect.CodeUnavailable:
		return say(ce.Message(), "Try again in a moment; 'argosy status' and 'argosy servers' say what is away.")
	case code == connect.CodeInternal, code == connect.CodeUnknown:
		return "the server failed: " + ce.Message()
	}
	return ce.Message()
}

// message is an error's text without the words of the protocol.
func message(err error) string {
	var ce *connect.Error
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "the server went away without a word"
	}
	if errors.As(err, &ce) {
		return ce.Message()
	}
	return err.Error()
}

// fault is why one address led to no server. Of several addresses, the greatest tells most about what to do next.
type fault int

const (
	otherwise fault = iota
	refused
	noSocket
	noRoute
	late
	noName
	noTLS
	denied
	wrongCluster
	wrongClock
)

// attempt is an address that was tried in vain.
type attempt struct {
	where string
	err   error
}

func (t attempt) fault() fault {
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var clock *auth.ClockError
	var wrong *auth.WrongServerError
	var timeout net.Error
	socket := strings.Contains(t.where, "/")
	switch {
	case errors.As(t.err, &clock):
		return wrongClock
	case errors.As(t.err, &wrong):
		return wrongCluster
	case errors.As(t.err, &record):
		return noTLS
	case socket && errors.Is(t.err, fs.ErrPermission):
		return denied
	case socket && (errors.Is(t.err, fs.ErrNotExist) || errors.Is(t.err, syscall.ENOTDIR)):
		return noSocket
	case errors.Is(t.err, syscall.ECONNREFUSED):
		return refused
	case errors.As(t.err, &dns):
		return noName
	case errors.Is(t.err, syscall.ENETUNREACH), errors.Is(t.err, syscall.EHOSTUNREACH):
		return noRoute
	case errors.Is(t.err, os.ErrDeadlineExceeded), errors.Is(t.err, context.DeadlineExceeded), errors.As(t.err, &timeout) && timeout.Timeout():
		return late
	}
	return otherwise
}

// sentence says what came of the attempt.
func (t attempt) sentence(at asked) string {
	switch t.fault() {
	case refused:
		return "nobody listens at " + t.where
	case noSocket:
		return "there is no socket " + t.where
	case noRoute:
		return "no route leads from here to " + t.where
	case late:
		return fmt.Sprintf("%s did not answer in time (%d s)", t.where, int(serverTime/time.Second))
	case noName:
		return "the name in " + t.where + " is not known here: " + dnsCause(t.err)
	case noTLS:
		return "what listens at " + t.where + " speaks no TLS, as every argosy server does"
	case denied:
		return "the socket " + t.where + " may not be used: permission denied"
	case wrongCluster:
		var wrong *auth.WrongServerError
		errors.As(t.err, &wrong)
		return fmt.Sprintf("what answers at %s is no server of cluster %s: %v", t.where, at.cluster, wrong.Cause)
	case wrongClock:
		var clock *auth.ClockError
		errors.As(t.err, &clock)
		return "the certificate of the server at " + t.where + " is not good now: " + clock.Error()
	}
	return t.where + ": " + t.err.Error()
}

func dnsCause(err error) string {
	var dns *net.DNSError
	errors.As(err, &dns)
	return dns.Err
}

// unreachedError is every address that was tried in vain.
type unreachedError struct{ attempts []attempt }

func (e *unreachedError) Error() string { return e.sentence(asked{}) }

func (e *unreachedError) Unwrap() []error {
	var out []error
	for _, t := range e.attempts {
		out = append(out, t.err)
	}
	return out
}

func (e *unreachedError) fault() fault {
	most := otherwise
	for _, t := range e.attempts {
		most = max(most, t.fault())
	}
	return most
}

func (e *unreachedError) sentence(at asked) string {
	if at.nothing {
		return "no server is known here: there is no socket " + at.socket
	}
	var parts []string
	for _, t := range e.attempts {
		parts = append(parts, t.sentence(at))
	}
	head := "no server answers: "
	if e.fault() == denied {
		head = "you may not administer the cluster here: "
	}
	return head + strings.Join(parts, "; ")
}

// next is what to do about it.
func (e *unreachedError) next(at asked) string {
	again := "If its servers have other addresses now, log in again with 'argosy login TOKEN'."
	switch e.fault() {
	case denied:
		return "Be root or a member of the group " + auth.LocalGroup + ", or log in with 'argosy login TOKEN' and name that login with --server."
	case wrongCluster:
		return "Is the address right? If the cluster was made anew, log in again with 'argosy login TOKEN'."
	case wrongClock:
		return "Is the clock of this host right ('date')? If it is, look at the server's: a server with the right time renews its certificate when it is restarted."
	case noTLS:
		return "Is the port right, and is it a server and no other program? " + again
	case noName:
		return "Is the network there, and the name right? " + again
	case noRoute, late:
		return "Is the network there, does the server run, and does a firewall let its port through? " + again
	}
	if at.login != "" {
		return "Does the server run ('systemctl status argosy-server' there)? " + again
	}
	return "Start one with 'argosy server', try 'argosy cluster up', log in to one elsewhere with 'argosy login TOKEN', or name another with --server."
}

// isDial says whether nothing was sent, since no server was reached.
func isDial(err error) bool {
	var unreached *unreachedError
	return errors.As(err, &unreached)
}
