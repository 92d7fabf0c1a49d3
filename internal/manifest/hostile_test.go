package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hostile manifests are made to cost time or memory. Each is refused, or read, within the bounds of TestHostile.
func hostile() map[string]string {
	all := hostileYAML()
	maps.Copy(all, hostileApps())
	return all
}

const hostileHead = "argosy: v1\napp: shop\n"

// many is n copies of a text, each # in them a number.
func many(n int, format string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.ReplaceAll(format, "#", fmt.Sprint(i)))
	}
	return b.String()
}

// hostileYAML are hard on whoever makes a tree of them.
func hostileYAML() map[string]string {
	const head = hostileHead
	repeat := strings.Repeat
	bomb := func(levels, width int) string {
		var b strings.Builder
		b.WriteString("x-0: &x0 {a: b}\n")
		for i := 1; i <= levels; i++ {
			fmt.Fprintf(&b, "x-%d: &x%d [%s*x%d]\n", i, i, repeat(fmt.Sprintf("*x%d, ", i-1), width-1), i-1)
		}
		return b.String()
	}
	merges := func(levels int) string {
		var b strings.Builder
		b.WriteString("x-0: &x0 {image: b}\n")
		for i := 1; i <= levels; i++ {
			fmt.Fprintf(&b, "x-%d: &x%d {<<: [%s*x%d]}\n", i, i, repeat(fmt.Sprintf("*x%d, ", i-1), 9), i-1)
		}
		return b.String()
	}
	return map[string]string{
		"flow sequence":       "[" + repeat("a,", 2<<20-1) + "]",
		"flow map":            "{" + repeat("a,", 2<<20-1) + "}",
		"flow pairs":          "{" + repeat("a: b,", 800_000) + "}",
		"empty sequences":     "[" + repeat("[],", 1<<20) + "]",
		"block sequence":      repeat("- a\n", 1<<20),
		"block map":           many(400_000, "a#: b\n"),
		"under the weight":    head + "containers: {" + repeat("a,", 49_000) + "}\n",
		"pairs under it":      head + "containers: {" + many(32_000, "a#: b,") + "}\n",
		"block under it":      head + "containers:\n" + many(24_000, " a#:\n  image: b\n"),
		"deep flow":           repeat("[", 4<<20),
		"deep flow maps":      repeat("{a: ", 1<<20),
		"deep block":          repeat("- ", 2<<20),
		"deep keys":           repeat("? ", 2<<20),
		"deep indents":        many(2000, ""),
		"alias bomb":          head + bomb(12, 10) + "containers: *x12\n",
		"alias bomb in use":   head + bomb(6, 10) + "containers: {web: {image: a, command: *x6, cap_add: *x6, group_add: *x5}}\n",
		"wide aliases":        head + "x-a: &a [" + repeat("CHOWN,", 10_000) + "]\ncontainers:\n" + many(3000, " c#: {image: a, cap_add: *a}\n"),
		"merge bomb":          head + merges(8) + "containers: {web: *x8}\n",
		"self merge":          head + "containers: &a {<<: [*a, *a, *a, *a], web: {image: a}}\n",
		"self alias":          head + "containers: &a {web: *a}\n",
		"wide merge":          head + "x-a: &a {" + many(20_000, "k#: v,") + "}\ncontainers:\n" + many(2000, " c#: {<<: *a}\n"),
		"comments":            repeat("# a\n", 1<<20),
		"line comments":       repeat("a: 1 # a\n", 400_000),
		"long text":           head + "x-a: " + repeat("x", 4<<20-40),
		"long name":           head + "containers: {" + repeat("x", 4<<20-40) + ": {}}",
		"long key":            "? " + repeat("a", 4<<20-40) + "\n: b",
		"long line of faults": head + "containers: {web: {image: a, cap_add: [" + repeat("x,", 40_000) + "]}}",
		"escapes":             head + "app: \"" + repeat(`\x41`, 1<<20-10) + "\"",
		"blank":               repeat(" ", 4<<20),
		"lines":               repeat("\n", 4<<20),
		"carriage returns":    repeat("\r", 4<<20),
		"plain lines":         head + "x-a: y\n" + repeat("  y\n", 1<<20-20),
		"folded":              head + "x-a: >\n" + repeat("  y\n\n", 800_000),
		"colons":              head + "x-a: b" + repeat(":", 90_000),
		"documents":           repeat("---\n", 1<<20),
		"anchors":             repeat("- &a x\n", 500_000),
		"tags":                repeat("- !a x\n", 500_000),
		"directives":          repeat("%FOO bar\n", 400_000),
		"zero bytes":          repeat("\x00", 1<<20),
		"not UTF-8":           head + repeat("\xff", 1<<20),
		"UTF-16":              "\xff\xfe" + repeat("a\x00", 1<<20),
		"NELs":                head + repeat("a: b\u0085", 20_000),
		"too large":           repeat("a", 4<<20+1),
	}
}

// hostileApps are hard on whoever looks at what they say.
func hostileApps() map[string]string {
	const head = hostileHead
	repeat := strings.Repeat
	return map[string]string{
		"unknown keys":       head + many(30_000, "kontainers#: x\n"),
		"unknown references": head + "containers:\n" + many(10_000, " c#: {image: a, depends_on: [d#]}\n") + "stacks: {s: {containers: [x]}}\n",
		"variables":          head + "x-a: &a \"" + repeat("${B}", 500_000) + "\"\ncontainers: {web: {image: a, environment: {A: *a, B: *a, C: *a}}}\n",
		"nested variables":   head + "containers: {web: {image: a, environment: {A: \"" + repeat("${A:-", 100_000) + repeat("}", 100_000) + "\"}}}\n",
		"large variables":    head + "containers: {web: {image: a, environment: {" + many(3000, "a#: '${HUGE}',") + "}}}\n",
		"ports":              head + "containers:\n" + many(2000, " c#: {image: a, ports: ['1-65535:1-65535']}\n"),
		"exposed":            head + "containers:\n" + many(2000, " c#: {image: a, expose: [1-65535]}\n"),
		"one port":           head + "containers: {web: {image: a, ports: [" + many(20_000, "'10.1.1.1:80:80',") + "]}}\nstacks: {s: {containers: [web]}}\ncluster: {s: 1}\n",
		"ports in stacks": head + "containers:\n" + many(60, " c#: {image: a, ports: ['1000-1300:1000-1300']}\n") + "x-a: &a [" + many(60, "c#,") + "]\nstacks:\n" +
			many(4000, " s#: {containers: *a}\n") + "cluster:\n" + many(4000, " s#: {on: each-machine}\n"),
		"dependencies in stacks": head + "x-d: &d [" + many(64, "c#,") + "]\ncontainers:\n" + many(64, " c#: {image: a, depends_on: *d}\n") + "stacks:\n" +
			many(4000, " s#: {containers: *d}\n"),
		"a long chain":    head + "containers:\n" + many(9000, " c#: {image: a, depends_on: [c1#]}\n"),
		"stacks together": head + "x-w: &w [" + many(60, "s#,") + "]\ncontainers: {web: {image: a}}\nstacks:\n" + many(4000, " s#: {containers: [web], placement: {together_with: *w, apart_from: *w}}\n"),
		"expressions":     head + "containers: {web: {image: a}}\nstacks: {s: {containers: [web], placement: {require: [" + repeat("\""+repeat("(", 900)+"\",", 2000) + "]}}}\n",
		"a long expression": head + "containers: {web: {image: a}}\nstacks: {s: {containers: [web], placement: {require: [\"" + repeat("a == b && ", 300_000) +
			"c == d\"]}}}\n",
		"words":            head + "containers: {web: {image: a, command: \"" + repeat("a ", 1_900_000) + "\"}}\n",
		"images":           head + "containers: {web: {image: \"" + repeat("a/", 1_900_000) + "\"}}\n",
		"image":            head + "containers:\n" + many(9000, " c#: {image: \"a/b/c/d/e/f/g/h/"+repeat("a-_", 10)+":x\"}\n"),
		"durations":        head + "containers: {web: {image: a, stop_grace_period: " + repeat("0s", 1_900_000) + "}}\n",
		"env files":        head + "containers:\n" + many(2000, " c#: {image: a, env_file: [big.env, big.env, big.env]}\n"),
		"quoted env files": head + "containers:\n" + many(200, " c#: {image: a, env_file: [quoted.env]}\n"),
		"config files":     head + "configs:\n" + many(2000, " c#: {file: big.env}\n"),
	}
}

// TestHostile: whatever is given, Parse answers within a second and with less than 100 MB of heap.
func TestHostile(t *testing.T) {
	huge := strings.Repeat("x", 1<<20)
	options := Options{
		LookupEnv: func(name string) (string, bool) { return huge, name == "HUGE" },
		ReadFile: func(_, path string, limit int) ([]byte, error) {
			data := bytes.Repeat([]byte("A=b\n"), 1<<18)
			if path == "quoted.env" {
				data = bytes.Repeat([]byte("A=\"\n\n\n\n\n"), 1<<17)
			}
			if len(data) > limit {
				return nil, errors.New("too large")
			}
			return data, nil
		},
	}
	for name, text := range hostile() {
		t.Run(name, func(t *testing.T) {
			data := []byte(text)
			const second, most = time.Second * slowdown, growth * 100 << 20
			var took time.Duration
			var heap uint64
			var faults Faults
			// What else the machine does makes it slower, and lets the collector come late, now and then: the best of a few counts.
			for attempt := 0; attempt == 0 || attempt < 6 && (took > second || heap > most); attempt++ {
				took, heap, faults = measured(func() Faults {
					_, source, faults := Parse([]File{{Name: "evil.yaml", Data: data}}, options)
					runtime.KeepAlive(source)
					return faults
				})
			}
			if len(faults) > MaxFaults+1 {
				t.Errorf("%d faults are shown", len(faults))
			}
			var out bytes.Buffer
			_ = faults.Render(&out, Style{})
			if out.Len() > 100_000 {
				t.Errorf("the faults are rendered in %d bytes", out.Len())
			}
			first := "no fault"
			if len(faults) > 0 {
				first = faults[0].String()
			}
			t.Logf("%4d ms, %3d MB: %.100s", took.Milliseconds(), heap>>20, first)
			if took > second {
				t.Errorf("took %s", took)
			}
			if heap > most {
				t.Errorf("grew the heap by %d MB", heap>>20)
			}
		})
	}
}

// processTime is what this process has used of all cpus, so that others on the machine do not count.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measured runs f with a collector that is as lazy as it is by default, and watches the heap meanwhile.
func measured(f func() Faults) (took time.Duration, heap uint64, faults Faults) {
	debug.FreeOSMemory()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		var most uint64
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapInuse)
			select {
			case <-stop:
				peak <- most
				return
			case <-tick.C:
			}
		}
	}()
	start := processTime()
	faults = f()
	took = processTime() - start
	close(stop)
	return took, <-peak - before.HeapInuse, faults
}
