package systemd

import "sync"

// jobs are systemd's jobs whose end somebody waits for. Systemd tells of it by a signal that names the job, and may do so before
// whoever asked for the job has read which one it is.
type jobs struct {
	mu      sync.Mutex
	waiting map[*job]bool
}

// job is one that is waited for.
type job struct {
	unit  string
	path  string            // empty until it is known
	ended map[string]string // results of the unit's jobs that ended meanwhile, by path
	done  chan string
}

func newJobs() *jobs { return &jobs{waiting: map[*job]bool{}} }

// await is called before a job of that unit is asked for, and leave when its end is not waited for any more.
func (j *jobs) await(unit string) *job {
	j.mu.Lock()
	defer j.mu.Unlock()
	one := &job{unit: unit, ended: map[string]string{}, done: make(chan string, 1)}
	j.waiting[one] = true
	return one
}

func (j *jobs) leave(one *job) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.waiting, one)
}

// named says which job it is.
func (j *jobs) named(one *job, path string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	one.path = path
	if result, ok := one.ended[path]; ok {
		one.done <- result
		delete(j.waiting, one)
	}
}

// removed says how a job of a unit ended.
func (j *jobs) removed(path, unit, result string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for one := range j.waiting {
		switch {
		case one.path == path:
			one.done <- result
			delete(j.waiting, one)
		case one.path == "" && one.unit == unit:
			one.ended[path] = result
		}
	}
}

// any says whether the end of any job is waited for.
func (j *jobs) any() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.waiting) > 0
}
