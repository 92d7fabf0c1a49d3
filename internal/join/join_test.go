package join

import (
	"bytes"
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Joining itself is shown with a real server, in package server.

func TestLoadRefusesDamage(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
	for says, content := range map[string]string{
		"is damaged (":           "{",
		"names no cluster":       "{}",
		"names no cluster or no": `{"cluster": "c", "servers": [" ", ""]}`,
		"too large":              strings.Repeat(" ", maxMembership+1),
	} {
		if err := os.WriteFile(filepath.Join(dir, membershipFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want something about %q", err, says)
		}
	}
	want := &Membership{Cluster: "c", Servers: []string{"192.0.2.1:7400"}, Name: "m1", CPUMilli: 1500}
	if err := Save(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil || got.Name != "m1" || got.CPUMilli != 1500 || len(got.Servers) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	if st, err := os.Stat(filepath.Join(dir, membershipFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v, %v", st.Mode(), err)
	}
}

func TestSealingKeyStays(t *testing.T) {
	dir := t.TempDir()
	_, first, err := SealingKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, again, err := SealingKey(dir)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("another key the second time: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, sealingFile), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := SealingKey(dir); err == nil || !strings.Contains(err.Error(), "join it again") {
		t.Errorf("a damaged key: %v", err)
	}
}

// A damaged key of a join that was never answered is made anew; a good one is used again.
func TestPendingKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), pendingKeyFile)
	if err := os.WriteFile(path, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := pendingKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := pendingKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := first.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(again.Public()) {
		t.Error("another key the second time")
	}
}

func TestCapacityIsDeclaredOrDetected(t *testing.T) {
	c, err := (&Membership{CPUMilli: 2000, MemoryBytes: 4 << 30, ReserveCPU: 1}).Capacity()
	if err != nil || c.CpuMilli != 2000 || c.Memory != 4<<30 || c.ReserveCpuMilli != 1 || c.ReserveMemory != 4<<30/20 {
		t.Errorf("got %v, %v", c, err)
	}
	if c, err = (&Membership{}).Capacity(); err != nil || c.CpuMilli < 1000 || c.Memory <= c.ReserveMemory {
		t.Errorf("got %v, %v", c, err)
	}
}
