package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// RenewAt is when a certificate should be renewed: a third of its life before its end, and up to a thirtieth of it later,
// by its serial number, so that machines which joined together do not come back together.
func RenewAt(cert *x509.Certificate) time.Time {
	life := cert.NotAfter.Sub(cert.NotBefore)
	var spread byte
	if b := cert.SerialNumber.Bytes(); len(b) > 0 {
		spread = b[len(b)-1]
	}
	return cert.NotAfter.Add(-life / 3).Add(life / 30 * time.Duration(spread) / 256)
}

// ShouldRenew says whether it is time to renew a certificate.
func ShouldRenew(now time.Time, cert *x509.Certificate) bool { return !now.Before(RenewAt(cert)) }

// Renewer keeps a credential fresh.
type Renewer struct {
	Source *Source
	Files  Files
	// Renew answers a certificate request.
	Renew func(ctx context.Context, csr []byte) (Issued, error)
	// Verifier trusts what the credential names, after each renewal; may be nil.
	Verifier *Verifier
	// Renewed is called after each renewal; may be nil. Connections made before still show the old certificate.
	Renewed func()
	// Spread is the longest that following another authority is put off, so that not all machines do at once.
	Spread time.Duration
	Log    *slog.Logger

	mu     sync.Mutex
	wanted [][]byte      // digests of the authorities that the cluster said it goes by, nil when it has said nothing
	wake   chan struct{} // made by woken
}

// Issued is a new certificate, that of the CA that signed it, and those of others that are to be trusted, DER.
type Issued struct {
	Certificate, CA []byte
	Also            [][]byte
}

const (
	// A timer does not run while a machine sleeps, and clocks are set, so the clock is looked at often.
	renewLook  = time.Hour
	renewRetry = time.Minute // doubled for each failure, up to renewLook
	// Whoever can do nothing else asks more often: after a long sleep of everything, servers may start a moment later. So does
	// who follows another authority.
	urgentRetry, urgentLook = time.Second, time.Minute
)

// Follow has the credential renewed soon if it does not go by the cluster's authorities, of which the digests are given, or
// if the cluster has not seen that it does.
func (r *Renewer) Follow(digests [][]byte, unseen bool) {
	if len(digests) == 0 {
		return
	}
	r.mu.Lock()
	r.wanted = digests
	r.mu.Unlock()
	if !unseen && r.follows() {
		return
	}
	select {
	case r.woken() <- struct{}{}:
	default:
	}
}

// follows says whether the credential goes by the authorities that the cluster said it goes by.
func (r *Renewer) follows() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wanted == nil || r.Source.Current().Follows(r.wanted)
}

func (r *Renewer) woken() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wake == nil {
		r.wake = make(chan struct{}, 1)
	}
	return r.wake
}

// Run renews the credential whenever it is time, until ctx is done. An expired one is renewed at once.
func (r *Renewer) Run(ctx context.Context) error {
	failures, follow := 0, false
	for {
		cert := r.Source.Current().Certificate
		wait := min(renewLook, time.Until(RenewAt(cert)))
		if wait <= 0 || follow {
			err := r.Once(ctx)
			if err == nil && follow && !r.follows() {
				err = errBehind
			}
			if err == nil {
				failures, follow = 0, false
				continue
			}
			wait = retryIn(failures, follow || time.Now().After(cert.NotAfter))
			failures++
			r.Log.WarnContext(ctx, "the certificate could not be renewed yet", "error", err, "ends", cert.NotAfter, "again in", wait)
		}
		woken := r.woken() // while it follows, for what was said since
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		case <-woken:
			timer.Stop()
			if follow {
				continue
			}
			follow = true
			if err := pause(ctx, rand.N(r.Spread+1)); err != nil {
				return err
			}
		}
	}
}

// errBehind is no fault: the server that answered had yet to hear of what another said.
var errBehind = errors.New("the server that renewed it does not go by the cluster's new authorities yet")

// retryIn is how long to wait after so many failures before the last one.
func retryIn(failures int, urgent bool) time.Duration {
	first, most := renewRetry, renewLook
	if urgent {
		first, most = urgentRetry, urgentLook
	}
	return min(first<<min(failures, 12), most)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Once renews the credential now. The new one is on disk before it is used. One of another authority is shown to the cluster at
// once, by renewing again: until then the cluster cannot know that it arrived, and does not give up the earlier authority.
func (r *Renewer) Once(ctx context.Context) error {
	old := r.Source.Current()
	if err := r.once(ctx, old); err != nil || r.Source.Current().CA.Equal(old.CA) {
		return err
	}
	return r.once(ctx, r.Source.Current())
}

func (r *Renewer) once(ctx context.Context, old *Credential) error {
	csr, err := NewCSR(old.Key)
	if err != nil {
		return err
	}
	got, err := r.Renew(ctx, csr)
	if err != nil {
		return fmt.Errorf("asking for a new certificate: %w", err)
	}
	fresh, err := NewCredential(old.Key, got.Certificate, got.CA, got.Also...)
	if err != nil {
		return fmt.Errorf("the new certificate: %w", err)
	}
	if err := sameHolder(old, fresh); err != nil {
		return err
	}
	if err := r.Files.Save(fresh); err != nil {
		return err
	}
	r.Source.Set(fresh)
	if r.Verifier != nil {
		r.Verifier.Trust(fresh.Trusted()...)
	}
	r.Log.InfoContext(ctx, "renewed the certificate", "ends", fresh.Certificate.NotAfter)
	if r.Renewed != nil {
		r.Renewed()
	}
	return nil
}

func sameHolder(old, fresh *Credential) error {
	oldCluster, oldID, err := old.Identity()
	if err != nil {
		return err
	}
	cluster, id, err := fresh.Identity()
	if err != nil {
		return err
	}
	// The authority may be another one: it came from a server with a certificate of one that was trusted.
	if cluster != oldCluster || id != oldID || !authorityOf(fresh.CA, cluster) {
		return fmt.Errorf("the new certificate is for %s of cluster %s instead of %s of cluster %s", id, cluster, oldID, oldCluster)
	}
	if fresh.Certificate.NotAfter.Before(old.Certificate.NotAfter) {
		return fmt.Errorf("the new certificate ends on %s, before the present one", fresh.Certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}
