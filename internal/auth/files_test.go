package auth

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/argosy-cluster/argosy/internal/store/memory"
)

func TestFiles(t *testing.T) {
	c := newCluster(t, memory.New())
	f := Files{Dir: filepath.Join(t.TempDir(), "credentials")}
	if _, err := f.Load(); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("before anything was saved: %v", err)
	}
	cred := issue(t, c, Machine, "m1", time.Now())
	if err := f.Save(cred); err != nil {
		t.Fatal(err)
	}
	got, err := f.Load()
	if err != nil || !got.Certificate.Equal(cred.Certificate) || !got.CA.Equal(cred.CA) || !sameKey(got.Key.Public(), cred.Key.Public()) {
		t.Fatalf("%v", err)
	}
	if cluster, id, err := got.Identity(); err != nil || cluster != c.ID() || id.String() != "machine m1" {
		t.Errorf("%s, %v, %v", cluster, id, err)
	}
	for _, p := range []string{f.Path(), f.CAPath()} {
		st, err := os.Stat(p)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", p, st.Mode(), err)
		}
	}
	entries, err := os.ReadDir(f.Dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d files are left, want 2 (%v)", len(entries), err)
	}
}

func TestFilesDamaged(t *testing.T) {
	c := newCluster(t, memory.New())
	f := Files{Dir: t.TempDir()}
	if err := f.Save(issue(t, c, Machine, "m1", time.Now())); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	other := Files{Dir: t.TempDir()}
	if err := other.Save(issue(t, c, Machine, "m2", time.Now())); err != nil {
		t.Fatal(err)
	}
	otherData, err := os.ReadFile(other.Path())
	if err != nil {
		t.Fatal(err)
	}
	cut := strings.Index(string(good), "-----BEGIN CERT")
	otherCut := strings.Index(string(otherData), "-----BEGIN CERT")
	for name, data := range map[string]string{
		"empty":            "",
		"cut":              string(good[:len(good)/2]),
		"no key":           string(good[cut:]),
		"another's key":    string(otherData[:otherCut]) + string(good[cut:]),
		"nonsense":         "not PEM",
		"endless nonsense": strings.Repeat("-----BEGIN ", maxCredential),
	} {
		if err := os.WriteFile(f.Path(), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Load(); err == nil || !strings.Contains(err.Error(), "is damaged") || !strings.Contains(err.Error(), "join again") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(f.Path(), good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(f.Path(), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
}

func TestShouldRenew(t *testing.T) {
	c := newCluster(t, memory.New())
	now := time.Now()
	for range 20 {
		cert := issue(t, c, Machine, "m1", now).Certificate
		at := RenewAt(cert)
		life := cert.NotAfter.Sub(cert.NotBefore)
		if left := cert.NotAfter.Sub(at); left > life/3 || left < life*3/10 {
			t.Errorf("renewed %v before the end of a life of %v", left, life)
		}
		if ShouldRenew(at.Add(-1), cert) || !ShouldRenew(at, cert) || !ShouldRenew(cert.NotAfter.Add(time.Hour), cert) {
			t.Error("ShouldRenew and RenewAt disagree")
		}
	}
}

// A year passes: certificates are renewed in time although some attempts fail, and none is ever shown after its end.
func TestRenewerOverAYear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, memory.New())
		source := NewSource(issue(t, c, Machine, "m1", time.Now()))
		begin, calls, renewals := time.Now(), 0, 0
		r := &Renewer{
			Source: source, Files: Files{Dir: t.TempDir()}, Log: slog.New(slog.DiscardHandler),
			Renew: func(_ context.Context, csr []byte) (Issued, error) {
				if calls++; calls%5 != 0 {
					return Issued{}, errors.New("no server answers")
				}
				der, err := c.IssueMachine(csr, "m1", time.Now())
				return Issued{Certificate: der, CA: c.CA()}, err
			},
			Renewed: func() { renewals++ },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 365*24*time.Hour)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		for time.Since(begin) < 365*24*time.Hour {
			time.Sleep(12 * time.Hour)
			if cert := source.Current().Certificate; time.Until(cert.NotAfter) < CertificateLife/5 {
				t.Fatalf("on day %d the certificate is good for %v only", int(time.Since(begin).Hours()/24), time.Until(cert.NotAfter))
			}
		}
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if renewals < 5 || renewals > 7 || calls != renewals*5 {
			t.Errorf("%d renewals in %d attempts", renewals, calls)
		}
	})
}

// After a long sleep of everything, servers may start a little later than machines: those do not wait long to ask again.
func TestExpiredRenewerAsksOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, memory.New())
		source := NewSource(issue(t, c, Machine, "m1", time.Now().Add(-200*24*time.Hour)))
		begin := time.Now()
		r := &Renewer{Source: source, Files: Files{Dir: t.TempDir()}, Log: slog.New(slog.DiscardHandler),
			Renew: func(_ context.Context, csr []byte) (Issued, error) {
				if time.Since(begin) < 10*time.Minute {
					return Issued{}, errors.New("no server answers")
				}
				der, err := c.IssueMachine(csr, "m1", time.Now())
				return Issued{Certificate: der, CA: c.CA()}, err
			}}
		ctx, cancel := context.WithTimeout(t.Context(), 11*time.Minute)
		defer cancel()
		if err := r.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if time.Now().After(source.Current().Certificate.NotAfter) {
			t.Error("a minute after servers answer again it has not renewed")
		}
	})
}

func TestRenewerRefuses(t *testing.T) {
	c, other := newCluster(t, memory.New()), newCluster(t, memory.New())
	now := time.Now()
	for name, answer := range map[string]func(csr []byte) ([]byte, []byte, error){
		"an error": func([]byte) ([]byte, []byte, error) { return nil, nil, errors.New("no") },
		"nonsense": func([]byte) ([]byte, []byte, error) { return []byte("x"), c.CA(), nil },
		"another's key": func([]byte) ([]byte, []byte, error) {
			return issue(t, c, Machine, "m1", now).Certificate.Raw, c.CA(), nil
		},
		"another name": func(csr []byte) ([]byte, []byte, error) {
			d, err := c.IssueMachine(csr, "m2", now.Add(time.Hour))
			return d, c.CA(), err
		},
		"another cluster": func(csr []byte) ([]byte, []byte, error) {
			d, err := other.IssueMachine(csr, "m1", now.Add(time.Hour))
			return d, other.CA(), err
		},
		"a CA that is not it": func(csr []byte) ([]byte, []byte, error) {
			d, err := c.IssueMachine(csr, "m1", now.Add(time.Hour))
			return d, other.CA(), err
		},
		"an earlier end": func(csr []byte) ([]byte, []byte, error) {
			d, err := c.IssueMachine(csr, "m1", now.Add(-time.Hour))
			return d, c.CA(), err
		},
	} {
		cred := issue(t, c, Machine, "m1", now)
		r := &Renewer{
			Source: NewSource(cred), Files: Files{Dir: t.TempDir()}, Log: slog.New(slog.DiscardHandler),
			Renew: func(_ context.Context, csr []byte) (Issued, error) {
				cert, ca, err := answer(csr)
				return Issued{Certificate: cert, CA: ca}, err
			},
		}
		if err := r.Once(t.Context()); err == nil || r.Source.Current() != cred {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := r.Files.Load(); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was kept: %v", name, err)
		}
	}
}
