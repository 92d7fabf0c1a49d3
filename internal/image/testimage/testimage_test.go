package testimage

import (
	"bytes"
	"errors"
	"os/exec"
	"testing"

	"github.com/moby/moby/client"
)

func TestArchiveIsDeterministic(t *testing.T) {
	spec := Spec{Ref: "a:b", Layers: [][]File{{{Path: "x/"}, {Path: "x/y", Data: []byte("z")}}}, Labels: map[string]string{"k": "v", "a": "b"}}
	var one, two bytes.Buffer
	if err := Archive(&one, spec); err != nil {
		t.Fatal(err)
	}
	if err := Archive(&two, spec); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("the same spec gave different bytes")
	}
}

func TestEnsure(t *testing.T) {
	docker, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	if _, err := docker.Ping(t.Context(), client.PingOptions{}); err != nil {
		t.Fatalf("this test needs Docker Engine, and none answers: start Docker (systemctl start docker) and run it again: %v", err)
	}
	for range 2 {
		ref, err := Ensure(t.Context(), docker)
		if err != nil {
			t.Fatal(err)
		}
		if ref != Ref() {
			t.Fatalf("Ensure returned %s, want %s", ref, Ref())
		}
	}
	out, err := exec.CommandContext(t.Context(), "docker", "run", "--rm", "--name", "argosy-image-test-ensure",
		"--network", "none", Ref(), "exit", "7").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("the program was to exit with 7, got %v\n%s", err, out)
	}
}
