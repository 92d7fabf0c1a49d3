package freeport

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// takeEnv makes this test program print so many ports and end when its input does.
const takeEnv = "ARGOSY_FREEPORT_TEST_TAKE"

func TestMain(m *testing.M) {
	if text := os.Getenv(takeEnv); text != "" {
		n, err := strconv.Atoi(text)
		for range n {
			port, failed := Take()
			if err = failed; err != nil {
				break
			}
			fmt.Println(port)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestTake: of two processes that take many, none has one of the other's, and each can be listened on.
func TestTake(t *testing.T) {
	const many = 700
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), takeEnv+"="+strconv.Itoa(many))
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	other.Stderr = os.Stderr
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	taken := map[int]bool{}
	for range many {
		port, err := Take()
		if err != nil {
			t.Fatal(err)
		}
		if taken[port] {
			t.Errorf("port %d is given twice", port)
		}
		taken[port] = true
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Errorf("port %d is not free: %v", port, err)
			continue
		}
		l.Close()
	}
	var text strings.Builder
	buf := make([]byte, 4096)
	for strings.Count(text.String(), "\n") < many {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("the other process: %v", err)
		}
		text.Write(buf[:n])
	}
	for word := range strings.FieldsSeq(text.String()) {
		port, err := strconv.Atoi(word)
		if err != nil || taken[port] {
			t.Errorf("the other process has %q (%v), which is ours", word, err)
		}
	}
	in.Close()
	if err := other.Wait(); err != nil {
		t.Error(err)
	}
}
