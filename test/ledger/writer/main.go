// Command writer appends to a ledger until it is told to stop.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/test/ledger"
)

func main() {
	file := flag.String("file", "/data/ledger", "where the ledger is")
	observer := flag.String("observer", "", "host:port of who is told of each record that is on the disk, by UDP; nobody when empty")
	every := flag.Duration("every", 20*time.Millisecond, "the time between records")
	flag.Parse()
	if err := run(*file, *observer, *every); err != nil {
		fmt.Fprintln(os.Stderr, "writer:", err)
		os.Exit(1)
	}
}

func run(path, observer string, every time.Duration) error {
	token, err := claims.ParseStamp(os.Getenv("ARGOSY_FENCING_TOKEN"))
	if err != nil {
		return fmt.Errorf("the token that it was given: %w", err)
	}
	life := make([]byte, 4)
	if _, err := rand.Read(life); err != nil {
		return err
	}
	f, last, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if token.Less(last.Token) {
		return fmt.Errorf("it was given token %s, and %s has written", token, last.Token)
	}
	tell := func([]byte) {}
	if observer != "" {
		c, err := net.Dial("udp", observer)
		if err != nil {
			return err
		}
		defer c.Close()
		tell = func(b []byte) { _, _ = c.Write(b) } // who cannot be reached is not told
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for r := (ledger.Record{Token: token, Life: hex.EncodeToString(life), Number: last.Number + 1}); ; r.Number++ {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			return err
		}
		r.At = time.Duration(ts.Nano())
		b := r.Encode()
		if _, err := f.Write(b); err != nil {
			return fmt.Errorf("record %d: %w", r.Number, err)
		}
		tell(b)
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
	}
}

// open opens the ledger at its end, behind the last record that is whole. What is written is on the disk when Write returns.
func open(path string) (*os.File, ledger.Record, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_DSYNC, 0o600)
	if err != nil {
		return nil, ledger.Record{}, err
	}
	all, err := ledger.Read(f)
	end := int64(len(all)) * ledger.Size
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, 0)
	}
	if err == nil && len(all) == 0 {
		err = syncDir(path)
	}
	if err != nil {
		return nil, ledger.Record{}, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	if len(all) == 0 {
		return f, ledger.Record{}, nil
	}
	return f, all[len(all)-1], nil
}

// syncDir has the file be there after a power cut.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
