//go:build e2e

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// array is the storage behind a shared disk: it refuses machines and takes them back, as programs of the servers ask it to.
type array struct {
	disk *shared

	mu   sync.Mutex
	acts []act
}

// act is what the storage was asked, and when it had done it.
type act struct {
	verb, machine string
	at            time.Time
}

// diskByID is where machines find the disk.
const diskByID = "/dev/disk/by-id/proof-one"

// fenceProgram asks the storage, and says what that says when it has not done it.
const fenceProgram = `#!/bin/bash
exec 3<>/dev/tcp/%s/%s || exit 1
echo "$1 $ARGOSY_FENCE_MACHINE_NAME $ARGOSY_FENCE_VOLUME $ARGOSY_FENCE_SOURCE" >&3
read -r answer <&3
[ "$answer" = done ] && exit 0
echo "${answer:-the storage hung up}"
exit 1
`

// newArray has the storage listen, and every server know how to ask it.
func newArray(t *testing.T, disk *shared) *array {
	t.Helper()
	l, err := net.Listen("tcp4", bridge())
	if err != nil {
		t.Fatal(err)
	}
	a := &array{disk: disk}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { a.answer(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range w.cluster.Machines {
		on(t, m.Name, "sh", "-c", `mkdir -p /etc/argosy/fence && printf %s "$1" > /etc/argosy/fence/array && chmod 755 /etc/argosy/fence /etc/argosy/fence/array`,
			"sh", fmt.Sprintf(fenceProgram, host, port))
	}
	return a
}

func (a *array) answer(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	words := strings.Fields(line)
	if err != nil || len(words) != 4 {
		return
	}
	view := a.disk.views[words[1]]
	switch {
	case view == nil || words[2] != "default/one/w.1/data" || words[3] != diskByID:
		fmt.Fprintf(c, "the storage knows nothing of %q\n", line)
		return
	case words[0] == "fence":
		view.Fence()
	case words[0] == "allow":
		view.Mend()
	default:
		return
	}
	a.mu.Lock()
	a.acts = append(a.acts, act{words[0], words[1], time.Now()})
	a.mu.Unlock()
	fmt.Fprintln(c, "done")
}

// first is when the storage had first done something.
func (a *array) first(verb, machine string) (time.Time, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range a.acts {
		if x.verb == verb && x.machine == machine {
			return x.at, nil
		}
	}
	return time.Time{}, fmt.Errorf("the storage was not asked to %s %s: %v", verb, machine, a.acts)
}

// TestFenced: a machine that writes is cut off from the cluster and not from the storage. That refuses it before the next machine mounts, which does not
// wait until the lease has run out; and takes it back before it may write again.
func TestFenced(t *testing.T) {
	disk := newShared(t, "proof-one")
	storage := newArray(t, disk)
	lead, _ := wholeServers(t)
	for _, m := range w.cluster.Machines {
		// By a path: a label could not be read any more once the storage refuses the machine, and this has to see then that all is quiet there.
		on(t, m.Name, "sh", "-c", `mkdir -p /dev/disk/by-id && ln -sfn "$1" "$2"`, "sh", disk.nodes[m.Name], diskByID)
	}
	one := startWriterOn(t, disk, "device: "+diskByID+", fence: array", `require: ["machine != `+lead+`"]`) // how long another leader takes is another matter
	eventually(t, time.Minute, "the replica writes", one.writes)
	if text := argosy(t, "volumes"); !strings.Contains(text, "fenced") {
		t.Errorf("it is not said to be fenced:\n%s", text)
	}
	eventually(t, 90*time.Second, "another machine could have it", movable)
	holder := one.holder(t)
	t.Cleanup(func() { disk.views[holder].Mend() }) // or it cannot be unmounted
	begun := time.Now()
	if err := w.local.Cut(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	var fenced, mounts time.Time
	eventually(t, time.Minute, "the storage refuses it", func() (err error) { fenced, err = storage.first("fence", holder); return err })
	eventually(t, time.Minute, "the next machine mounts", func() (err error) { mounts, err = mounting(holder); return err })
	// It is connected again while its lease is on still, more often than not.
	if err := w.local.Heal(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, "it writes elsewhere", func() error {
		if turns := disk.Turns(); turns[len(turns)-1].View == holder {
			return errors.New("the disk is still " + holder + "'s\n" + w.run(nil, "explain", "one/w.1").out)
		}
		return one.writes()
	})
	turns := disk.Turns()
	since := func(at time.Time) float64 { return at.Sub(begun).Seconds() }
	t.Logf("%s was cut off: the storage refused it after %.2f s, its last write was at %.2f s; %s was seen to mount at %.2f s, and its first write was at %.2f s",
		holder, since(fenced), since(turns[0].To), turns[1].View, since(mounts), since(turns[1].From))
	if len(turns) != 2 || turns[0].To.After(fenced) || turns[1].From.Before(fenced) {
		t.Errorf("the storage refused it at %s, and was written: %+v", fenced, turns)
	}
	if said := argosy(t, "events", "--since", (time.Since(begun) + time.Second).Round(time.Second).String(), "one"); !strings.Contains(said, "volume data: its storage refuses "+holder) || strings.Contains(said, "lease has run out") {
		t.Errorf("history does not say why it moved:\n%s", said)
	}

	if _, err := w.local.Exec(t.Context(), holder, "true"); err != nil {
		t.Fatalf("%s was not quiet by the end of its lease, and was reset: %v", holder, err)
	}
	eventually(t, time.Minute, holder+" is back", func() error {
		c, err := condition(holder)
		if err == nil && c != argosyv1.MachineCondition_MACHINE_CONDITION_READY {
			err = fmt.Errorf("it is %v", c)
		}
		return err
	})
	if _, err := storage.first("allow", holder); err == nil {
		t.Error("the storage has taken it back before it was wanted there")
	}
	next := turns[1].View
	argosy(t, "machines", "drain", next, "--reason", "back")
	t.Cleanup(func() { _ = w.run(nil, "machines", "activate", next) })
	eventually(t, 2*time.Minute, "it writes on "+holder+" again", func() error {
		if turns := disk.Turns(); turns[len(turns)-1].View != holder {
			return errors.New(w.run(nil, "explain", "one/w.1").out + w.run(nil, "volumes").out)
		}
		return one.writes()
	})
	allowed, err := storage.first("allow", holder)
	if turns := disk.Turns(); err != nil || len(turns) != 3 || turns[2].From.Before(allowed) {
		t.Errorf("it was taken back at %s (%v), and the disk was written: %+v", allowed, err, turns)
	}
	t.Log(one.judge(t))
}
