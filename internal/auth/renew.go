package auth

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
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
	// Renew answers a certificate request with a certificate and the CA's, DER.
	Renew func(ctx context.Context, csr []byte) (certificate, ca []byte, err error)
	// Renewed is called after each renewal; may be nil. Connections made before still show the old certificate.
	Renewed func()
	Log     *slog.Logger
}

const (
	// A timer does not run while a machine sleeps, and clocks are set, so the clock is looked at often.
	renewLook  = time.Hour
	renewRetry = time.Minute // doubled for each failure, up to renewLook
)

// Run renews the credential whenever it is time, until ctx is done. An expired one is renewed at once.
func (r *Renewer) Run(ctx context.Context) error {
	retry := renewRetry
	for {
		wait := min(renewLook, time.Until(RenewAt(r.Source.Current().Certificate)))
		if wait <= 0 {
			if err := r.Once(ctx); err != nil {
				r.Log.WarnContext(ctx, "the certificate could not be renewed yet",
					"error", err, "ends", r.Source.Current().Certificate.NotAfter, "again in", retry)
				wait, retry = retry, min(2*retry, renewLook)
			} else {
				wait, retry = 0, renewRetry
			}
		}
		if wait <= 0 {
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// Once renews the credential now. The new one is on disk before it is used.
func (r *Renewer) Once(ctx context.Context) error {
	old := r.Source.Current()
	csr, err := NewCSR(old.Key)
	if err != nil {
		return err
	}
	cert, ca, err := r.Renew(ctx, csr)
	if err != nil {
		return fmt.Errorf("asking for a new certificate: %w", err)
	}
	fresh, err := NewCredential(old.Key, cert, ca)
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
	if cluster != oldCluster || id != oldID || !fresh.CA.Equal(old.CA) {
		return fmt.Errorf("the new certificate is for %s of cluster %s instead of %s of cluster %s", id, cluster, oldID, oldCluster)
	}
	if !fresh.Certificate.NotAfter.After(old.Certificate.NotAfter) {
		return fmt.Errorf("the new certificate ends on %s, no later than the present one", fresh.Certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}
