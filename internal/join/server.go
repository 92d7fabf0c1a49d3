package join

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
)

// ServerFacts is what a new server says of itself.
type ServerFacts struct {
	Name string
	// Replace is the name or id of a server that is gone for good and whose place this one takes; it may be empty.
	Replace string
}

// Server makes this host a server of the token's cluster and keeps what it needs for that in dir, which must not hold a
// server yet: the cluster's record, the key that opens it, and where the others are. It is a member once it is started.
func Server(ctx context.Context, token auth.Token, f ServerFacts, dir string) (*Membership, error) {
	for _, name := range []string{"server-id", "etcd", membershipFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return nil, fmt.Errorf("%s holds a server already: to have it join, stop it, make sure that nothing in there is needed, and empty the directory", dir)
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("looking for a server: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making %s: %w", dir, err)
	}
	private, public, err := SealingKey(dir)
	if err != nil {
		return nil, err
	}
	res, _, err := spend(ctx, token, dir, func(csr []byte, text string) *argosyv1.JoinRequest {
		return &argosyv1.JoinRequest{Token: text, Csr: csr, Name: f.Name, Replace: f.Replace, SealingKey: public}
	})
	if err != nil {
		return nil, err
	}
	if len(res.ServerId) != 32 {
		return nil, errors.New("the server that answered made no server of this host: is it of an earlier release?")
	}
	keyFile := filepath.Join(dir, "keys")
	if err := auth.KeepMaster(private, res.SealedKey, res.ServerId, keyFile); err != nil {
		return nil, fmt.Errorf("keeping the cluster's key: %w", err)
	}
	if _, err := auth.LoadCluster(res.ClusterRecord, keyFile); err != nil {
		return nil, err
	}
	m := &Membership{Cluster: token.Cluster, Servers: orElse(res.Servers, token.Servers), Name: f.Name, Domain: res.GetSettings().GetDomain()}
	// The membership is last: its presence says that the rest is complete.
	err = errors.Join(
		writeFile(auth.RecordPath(dir), res.ClusterRecord),
		writeFile(filepath.Join(dir, "shared.json"), []byte("{}\n")),
		writeFile(filepath.Join(dir, "server-id"), []byte(res.ServerId+"\n")))
	if err != nil {
		return nil, err
	}
	if err := Save(dir, m); err != nil {
		return nil, err
	}
	return m, errors.Join(remove(filepath.Join(dir, pendingKeyFile)), remove(filepath.Join(dir, sealingFile)))
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing what is left of the join: %w", err)
	}
	return nil
}
