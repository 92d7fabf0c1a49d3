package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// TestSecretsStayClosed: nothing that the server writes, answers or logs has a secret's value in it.
func TestSecretsStayClosed(t *testing.T) {
	const value, password = "correct horse battery staple", "hunter2 of the registry"
	dir := shortDir(t)
	c := own(t, dir, nil)
	ctx := t.Context()
	for range 2 { // the second is the answer that was kept
		if _, err := c.local.secrets.SetSecret(ctx, connect.NewRequest(&argosyv1.SetSecretRequest{Name: "db-root", Value: []byte(value), IdempotencyKey: "k1"})); err != nil {
			t.Fatal(err)
		}
		if _, err := c.local.secrets.SetRegistryCredential(ctx, connect.NewRequest(&argosyv1.SetRegistryCredentialRequest{
			Registry: "127.0.0.1:1", Username: "ci", Password: password, IdempotencyKey: "k2"})); err != nil {
			t.Fatal(err)
		}
	}
	s := spec("shop", 1)
	s.Containers[0].Secrets = []*argosyv1.FileRef{{Source: "db-root", Target: "/run/secrets/db-root"}}
	agent := c.machine(t, facts())
	agent.connect(t)
	c.apply(t, s) // its registry is asked with the credential
	c.assigned(t, "shop")

	var answers bytes.Buffer
	keep := func(m proto.Message, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		answers.Write(b)
	}
	list, err := c.local.secrets.ListSecrets(ctx, connect.NewRequest(&argosyv1.ListSecretsRequest{}))
	keep(list.Msg, err)
	credentials, err := c.local.secrets.ListRegistryCredentials(ctx, connect.NewRequest(&argosyv1.ListRegistryCredentialsRequest{}))
	keep(credentials.Msg, err)
	app, err := c.local.apps.GetApp(ctx, connect.NewRequest(&argosyv1.GetAppRequest{App: "shop", AllRevisions: true}))
	keep(app.Msg, err)
	explained, err := c.local.apps.Explain(ctx, connect.NewRequest(&argosyv1.ExplainRequest{Key: &argosyv1.ReplicaKey{App: "shop", Stack: "web", Number: 1}}))
	keep(explained.Msg, err)
	seen := 0
	until(t, "history has followed", func(ctx context.Context) error {
		events, err := c.local.cluster.ListEvents(ctx, connect.NewRequest(&argosyv1.ListEventsRequest{}))
		if err != nil {
			return err
		}
		for events.Receive() {
			seen += len(events.Msg().Events)
			keep(events.Msg(), nil)
		}
		if seen == 0 {
			return errors.New("there are no events")
		}
		return events.Err()
	})
	if len(list.Msg.Secrets) != 1 || len(credentials.Msg.Credentials) != 1 {
		t.Fatalf("there is nothing to look through: %v, %v", list.Msg, credentials.Msg)
	}
	c.stop()

	noTrace(t, dir, map[string][]byte{"an answer": answers.Bytes(), "the log": []byte(c.log.String())}, value, password)
}

// noTrace looks for values, as they are or encoded, in texts and in all files of a directory.
func noTrace(t *testing.T, dir string, texts map[string][]byte, values ...string) {
	t.Helper()
	forms := map[string][]byte{}
	for _, v := range values {
		forms["plain "+v] = []byte(v)
		forms["base 64 "+v] = []byte(base64.StdEncoding.EncodeToString([]byte(v))[:20])
		forms["hex "+v] = []byte(hex.EncodeToString([]byte(v)))
	}
	look := func(where string, b []byte) {
		for form, pattern := range forms {
			if bytes.Contains(b, pattern) {
				t.Errorf("%s has the secret in it: %s", where, form)
			}
		}
	}
	for where, b := range texts {
		look(where, b)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		files++
		look(strings.TrimPrefix(path, dir), b)
		return err
	})
	if err != nil || files < 5 {
		t.Errorf("looked through %d files: %v", files, err)
	}
}
