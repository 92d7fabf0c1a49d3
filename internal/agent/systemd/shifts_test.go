package systemd

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestShifts: files are written together and units started together, each while the other waits, and nobody waits for ever.
func TestShifts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shifts
		var mu sync.Mutex // of said: some come at the same time
		var said []string
		ends := map[string]chan struct{}{}
		come := func(name string, k shift) {
			end := make(chan struct{})
			ends[name] = end
			go func() {
				leave := s.enter(t.Context(), k)
				mu.Lock()
				said = append(said, name)
				mu.Unlock()
				<-end
				leave()
				leave() // does nothing more
			}()
			synctest.Wait()
		}
		leave := func(names ...string) {
			for _, name := range names {
				close(ends[name])
				synctest.Wait()
			}
		}
		expect := func(want string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if got := strings.Join(said, " "); got != want {
				t.Errorf("at work are %q, not %q", got, want)
			}
			said = nil
		}
		come("write1", writing)
		come("write2", writing)
		expect("write1 write2")
		come("start1", beginning)
		come("write3", writing) // behind the start that waits
		come("start2", beginning)
		expect("")
		leave("write1")
		expect("")
		leave("write2") // systemd has not read yet, so nothing has to pass
		if len(said) != 2 || said[0] == "write3" || said[1] == "write3" {
			t.Errorf("after the files it is the turn of %v", said)
		}
		said = nil
		come("start3", beginning)
		leave("start1")
		expect("")
		leave("start2")
		expect("write3")
		leave("write3")
		expect("")
		come("write3b", writing) // the start cannot be yet: who writes does not wait for it
		expect("write3b")
		time.Sleep(readPause)
		synctest.Wait()
		expect("")
		come("write3c", writing)
		expect("") // but now the start's time has come
		leave("write3b")
		expect("start3")
		come("start4", beginning)
		expect("") // behind write3c
		leave("start3")
		expect("write3c")
		leave("write3c")
		expect("")
		time.Sleep(readPause)
		synctest.Wait()
		expect("start4")
		leave("start4")
		come("start5", beginning) // nothing was written, so systemd has nothing to go through
		expect("start5")
		leave("start5")
		come("start3", beginning)
		expect("start3")
		come("write4", writing)
		expect("")
		time.Sleep(shiftPatience)
		synctest.Wait()
		expect("write4") // start3 hangs
		leave("write4", "start3")
		come("write5", writing)
		expect("write5")
		leave("write5")
		if s.working != 0 || len(s.waiting[writing]) > 0 || len(s.waiting[beginning]) > 0 {
			t.Errorf("somebody is left: %+v", &s)
		}
	})
}
