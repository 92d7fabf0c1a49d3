package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/migration"
)

// nextRelease is a release whose store has a mark beside every secret.
func nextRelease(c *Config) {
	c.version = "v2-test"
	c.layouts = migration.Known{Oldest: 1, Steps: []migration.Step{{What: "secrets are marked", Prefixes: []string{store.Secrets},
		Change: func(kv store.KV) ([]store.Op, error) {
			sec := &storev1.Secret{}
			if err := store.Decode(kv, sec); err != nil || strings.HasSuffix(sec.Username, "!") {
				return nil, err
			}
			next := proto.CloneOf(sec)
			next.Username = "marked!"
			op, err := store.Put(kv.Key, next)
			return []store.Op{op}, err
		}}}}
}

func setSecret(t *testing.T, c *clients, name, value string) {
	t.Helper()
	if _, err := c.secrets.SetSecret(t.Context(), connect.NewRequest(&argosyv1.SetSecretRequest{Name: name, Value: []byte(value), IdempotencyKey: name + "-" + value})); err != nil {
		t.Fatal(err)
	}
}

// hasLayout waits until the store is of a layout, and what its change waits for is said.
func hasLayout(t *testing.T, c *cluster, number uint32, waits string) {
	t.Helper()
	until(t, fmt.Sprintf("the store has layout %d, waiting for %q", number, waits), func(ctx context.Context) error {
		res, err := c.asServers().ListServers(ctx, connect.NewRequest(&argosyv1.ListServersRequest{}))
		if err != nil {
			return err
		}
		if got := res.Msg.LayoutMessage; res.Msg.Layout != number || !strings.Contains(got, waits) || (got == "") != (waits == "") {
			return fmt.Errorf("layout %d: %q", res.Msg.Layout, got)
		}
		return nil
	})
}

func marked(t *testing.T, c *cluster, name string) bool {
	t.Helper()
	snap, err := c.server.store.Get(t.Context(), store.SecretKey("default", name))
	if err != nil || len(snap.KVs) != 1 {
		t.Fatal(snap, err)
	}
	return bytes.Contains(snap.KVs[0].Value, []byte("marked!"))
}

// A server alone changes its store as it starts, and the release from before refuses it, saying what to install.
func TestLayoutOfOne(t *testing.T) {
	t.Parallel()
	c := own(t, shortDir(t), nil)
	setSecret(t, c.local, "db", "one")
	c.stop()
	c = own(t, c.dir, nextRelease)
	hasLayout(t, c, 2, "")
	if !marked(t, c, "db") {
		t.Error("the step was not carried out")
	}
	until(t, "history tells of it", func(ctx context.Context) error {
		stream, err := c.local.cluster.ListEvents(ctx, connect.NewRequest(&argosyv1.ListEventsRequest{}))
		if err != nil {
			return err
		}
		defer stream.Close()
		for stream.Receive() {
			for _, e := range stream.Msg().Events {
				if e.To == "store of layout 2" {
					return nil
				}
			}
		}
		return errors.Join(stream.Err(), errors.New("no event"))
	})
	c.stop()
	_, err := startIn(c.dir, nil)
	if err == nil || !strings.Contains(err.Error(), "layout 2, made by argosy v2-test") || !strings.Contains(err.Error(), "install argosy v2-test or later here") {
		t.Errorf("the release from before: %v", err)
	}
}

// Three servers of which one after another is upgraded work together all the time, and change the store when the last one is.
// One that is put back to the release from before does not start.
func TestLayoutOfThree(t *testing.T) {
	t.Parallel()
	s := threeServers(t)
	setSecret(t, s.any(), "old", "0") // nobody sets it again, as the step may be carried out before the last of the others is set
	for i := range 3 {
		c := s.servers[0]
		c.stop()
		s.drop(c)
		s.change = nextRelease
		upgraded := s.start(c.dir, c.server.cfg.Name)
		s.votes(3)
		for _, any := range s.servers {
			setSecret(t, any.local, "db", fmt.Sprintf("%d-%s", i, any.server.cfg.Name))
		}
		if number, waits := upgraded.server.layoutStatus(t.Context()); i < 2 && (number != 1 || !strings.Contains(waits, "of an earlier release")) {
			t.Errorf("after %d of 3 servers: layout %d, waiting for %q", i+1, number, waits)
		}
	}
	hasLayout(t, s.servers[0], 2, "")
	setSecret(t, s.any(), "web", "1")
	if !marked(t, s.servers[0], "old") {
		t.Error("the step was not carried out")
	}
	c := s.servers[0]
	c.stop()
	s.drop(c)
	s.change = nil
	if _, err := startIn(c.dir, s.config(c.dir, c.server.cfg.Name)); err == nil || !strings.Contains(err.Error(), "install argosy v2-test or later here") {
		t.Errorf("a server put back to the release from before: %v", err)
	}
}
