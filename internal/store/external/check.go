package external

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/argosy-cluster/argosy/internal/store"
)

// reach makes sure that at least one endpoint can be spoken to. It says why not better than etcd's client does, which only
// knows that time ran out.
func reach(ctx context.Context, c Config, t *tls.Config) error {
	hosts := c.hosts()
	found := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, host := range hosts {
		wg.Go(func() { found[i] = greet(ctx, host, t) })
	}
	wg.Wait()
	well := 0
	var failures []error
	for i, err := range found {
		if err == nil {
			well++
			continue
		}
		failures = append(failures, fmt.Errorf("%s: %w", c.Endpoints[i], err))
	}
	if well == 0 {
		return fmt.Errorf("no etcd can be reached: %w", errors.Join(failures...))
	}
	for _, err := range failures {
		c.Log.Warn("one of the endpoints of etcd cannot be reached; the others do", "error", err)
	}
	return nil
}

// http2Hello is how a client of HTTP/2 begins, with no settings. A server answers it at once, or says what it does not like.
const http2Hello = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// greet opens a connection and waits for the first byte, which comes when the other side has taken this one's certificate.
func greet(ctx context.Context, host string, t *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return plain(err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if t != nil {
		own := t.Clone()
		own.NextProtos = []string{"h2"}
		if own.ServerName, _, err = net.SplitHostPort(host); err != nil {
			return err
		}
		secure := tls.Client(conn, own)
		if err := secure.HandshakeContext(ctx); err != nil {
			return plain(err)
		}
		conn = secure
	}
	if _, err := conn.Write([]byte(http2Hello)); err != nil {
		return plain(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return plain(err)
	}
	return nil
}

// plain says what is wrong with a connection in a sentence.
func plain(err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var refused *net.OpError
	text := err.Error()
	switch {
	case errors.As(err, &unknown):
		return errors.New("its certificate is not of an authority in --store-ca: is that the right file?")
	case errors.As(err, &host), errors.As(err, &invalid):
		return fmt.Errorf("its certificate does not hold: %w", err)
	case errors.As(err, &record):
		return errors.New("it does not speak TLS: is it an http endpoint?")
	case strings.Contains(text, "certificate required"):
		return errors.New("it asks for a certificate: give one with --store-cert and --store-key")
	case strings.Contains(text, "remote error: tls:"):
		return fmt.Errorf("it does not take the certificate in --store-cert (%w)", err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &refused) && refused.Timeout():
		return fmt.Errorf("it does not answer within %s", openTime)
	}
	return err
}

// explained turns an error of etcd into a sentence that says what to do.
func explained(c Config, err error) error {
	switch {
	case err == nil:
		return nil
	case isAny(err, rpctypes.ErrAuthFailed):
		return fmt.Errorf("etcd does not take the password in %s for user %s", c.PasswordFile, c.User)
	case isAny(err, rpctypes.ErrUserEmpty) && c.User == "":
		return errors.New("etcd asks who this is: give a user with --store-user and --store-password-file")
	case isAny(err, rpctypes.ErrAuthNotEnabled):
		return errors.New("etcd has no authentication enabled: enable it ('etcdctl auth enable'), or leave out --store-user and --store-password-file")
	case isAny(err, rpctypes.ErrPermissionDenied):
		key, who := c.Prefix+"/argosy/", "etcd's user "+c.User
		if c.User == "" {
			who = "etcd takes the certificate's common name for a user, who"
		}
		return fmt.Errorf("%s may not read and write keys that begin with %s: grant a role of it 'readwrite' for that prefix ('etcdctl role grant-permission --prefix ROLE readwrite %s'), or give another with --store-user", who, key, key)
	case errors.Is(err, context.DeadlineExceeded), isCode(err, codes.DeadlineExceeded):
		return errors.New("etcd answers too late or not at all: has it a majority of its members?")
	}
	return fmt.Errorf("etcd: %w", err)
}

func isAny(err error, known ...error) bool {
	var is rpctypes.EtcdError
	if !errors.As(rpctypes.Error(err), &is) {
		return false
	}
	return slices.ContainsFunc(known, func(k error) bool { return is.Error() == k.Error() })
}

func isCode(err error, code codes.Code) bool { return status.Code(err) == code }

// suits makes sure that etcd is of a release that can be used, lets this server read and write, and takes transactions as
// large as the store's.
func (e *Etcd) suits(ctx context.Context) error {
	var failures []error
	seen := 0
	for _, endpoint := range e.cfg.Endpoints {
		st, err := e.status(ctx, endpoint)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		seen++
		if err := checkVersion(st.Version); err != nil {
			return fmt.Errorf("%s: %w", endpoint, err)
		}
		e.keepStatus(st)
	}
	if seen == 0 {
		return explained(e.cfg, failures[0])
	}
	return e.limits(ctx)
}

// What etcd is started with so that it takes the store's transactions.
const etcdFlags = "--max-txn-ops=8192 --max-request-bytes=10485760"

// limits asks for nothing, in requests that are as large as the store's.
func (e *Etcd) limits(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, limitTime)
	defer cancel()
	const key = store.ElectionKey + "/none"
	if _, err := e.client.Get(ctx, key); err != nil {
		return explained(e.cfg, err)
	}
	ops := make([]clientv3.Op, store.MaxTxnOps)
	for i := range ops {
		ops[i] = clientv3.OpGet(key, clientv3.WithCountOnly())
	}
	_, err := e.client.Txn(ctx).Then(ops...).Commit()
	if isAny(err, rpctypes.ErrTooManyOps) {
		return fmt.Errorf("etcd takes fewer operations in a transaction than the %d that are needed: start its members with %s", store.MaxTxnOps, etcdFlags)
	}
	if err != nil {
		return explained(e.cfg, err)
	}
	// The value that is compared is not there, and neither is what would be read then.
	large := clientv3.Compare(clientv3.Value(key), "=", strings.Repeat("x", store.MaxTxnBytes+2<<20))
	_, err = e.client.Txn(ctx).If(large).Then(clientv3.OpGet(key)).Commit()
	if isAny(err, rpctypes.ErrRequestTooLarge) || isCode(err, codes.ResourceExhausted) {
		return fmt.Errorf("etcd takes smaller requests than the %d MiB that are needed: start its members with %s", store.MaxTxnBytes>>20, etcdFlags)
	}
	return explained(e.cfg, err)
}

// checkVersion accepts releases of etcd that Argosy works with.
func checkVersion(text string) error {
	number, _, _ := strings.Cut(text, "-") // of 3.6.0-rc.1
	parts := strings.Split(number, ".")
	var n [3]int
	for i := range min(len(parts), len(n)) {
		var err error
		if n[i], err = strconv.Atoi(parts[i]); err != nil {
			return fmt.Errorf("it calls its version %.40q, which is none of etcd's", text)
		}
	}
	switch {
	case len(parts) < 2:
		return fmt.Errorf("it calls its version %.40q, which is none of etcd's", text)
	case n[0] < 3 || n[0] == 3 && n[1] < 5:
		return fmt.Errorf("it is etcd %s, which is too old: 3.5.3 or later is needed", text)
	case n[0] == 3 && n[1] == 5 && n[2] < 3:
		return fmt.Errorf("it is etcd %s, which can damage what it keeps: 3.5.3 or later is needed", text)
	case n[0] > 3:
		return fmt.Errorf("it is etcd %s, which this release of Argosy does not know", text)
	}
	return nil
}

// saysFull finds the alarm for a full database in what a member says of itself.
func saysFull(faults []string) bool {
	return slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, "NOSPACE") })
}
