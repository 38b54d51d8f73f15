package pbxtest

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Outcome is what became of one test.
type Outcome struct {
	Name    string
	Skipped bool
	Failed  bool
	// Text is why it was skipped, or how it failed.
	Text string
	Took time.Duration
}

// Try runs the suite without the testing package's command, one test after the other, and tells what became of each
// as soon as it is known. run selects tests by name; nil is all. It ends early, with ctx's error, when ctx ends.
func Try(ctx context.Context, target Target, run *regexp.Regexp, tell func(Outcome)) error {
	if target.Patience == 0 {
		target.Patience = time.Minute
	}
	for _, c := range checks() {
		if run != nil && !run.MatchString(c.name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		out := tryOne(ctx, c, target)
		out.Took = time.Since(began)
		tell(out)
	}
	return ctx.Err()
}

// tryOne runs one check in a goroutine of its own, which a failed test ends.
func tryOne(ctx context.Context, c check, target Target) Outcome {
	r := &recorder{ctx: ctx, name: c.name}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.clean()
		c.on(r, target)
	}()
	<-done
	r.mu.Lock()
	defer r.mu.Unlock()
	return Outcome{Name: c.name, Skipped: r.skipped && len(r.failures) == 0, Failed: len(r.failures) > 0, Text: strings.Join(append(r.failures, r.why...), "\n")}
}

// recorder is a testing.TB outside of a test. Only what the suite uses is there: the interface cannot be implemented
// otherwise than by embedding one.
type recorder struct {
	testing.TB

	ctx  context.Context
	name string

	mu       sync.Mutex
	failures []string // guarded by mu
	why      []string // guarded by mu; of the skip
	skipped  bool     // guarded by mu
	cleanups []func() // guarded by mu
}

func (r *recorder) fail(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, strings.TrimSpace(s))
}

// Name implements testing.TB.
func (r *recorder) Name() string { return r.name }

// Helper implements testing.TB.
func (r *recorder) Helper() {}

// Context implements testing.TB.
func (r *recorder) Context() context.Context { return r.ctx }

// Errorf implements testing.TB.
func (r *recorder) Errorf(format string, args ...any) { r.fail(fmt.Sprintf(format, args...)) }

// Error implements testing.TB.
func (r *recorder) Error(args ...any) { r.fail(fmt.Sprint(args...)) }

// Fatal implements testing.TB.
func (r *recorder) Fatal(args ...any) { r.fail(fmt.Sprint(args...)); runtime.Goexit() }

// Fatalf implements testing.TB.
func (r *recorder) Fatalf(format string, args ...any) {
	r.fail(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// FailNow implements testing.TB; what failed was mostly said before.
func (r *recorder) FailNow() {
	if !r.Failed() {
		r.fail("failed")
	}
	runtime.Goexit()
}

// Fail implements testing.TB.
func (r *recorder) Fail() { r.fail("failed") }

// Log implements testing.TB; the suite's failures say everything.
func (r *recorder) Log(...any) {}

// Logf implements testing.TB.
func (r *recorder) Logf(string, ...any) {}

// Skip implements testing.TB.
func (r *recorder) Skip(args ...any) {
	r.mu.Lock()
	r.skipped, r.why = true, append(r.why, fmt.Sprint(args...))
	r.mu.Unlock()
	runtime.Goexit()
}

// Failed implements testing.TB.
func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) > 0
}

// Cleanup implements testing.TB.
func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// TempDir implements testing.TB.
func (r *recorder) TempDir() string {
	dir, err := os.MkdirTemp("", "pbxtest")
	if err != nil {
		r.Fatalf("a folder for the test: %v", err)
	}
	r.Cleanup(func() { _ = os.RemoveAll(dir) }) // it is the system's to clear if that fails
	return dir
}

// clean calls what was left for the end, the last first.
func (r *recorder) clean() {
	for {
		r.mu.Lock()
		n := len(r.cleanups)
		if n == 0 {
			r.mu.Unlock()
			return
		}
		f := r.cleanups[n-1]
		r.cleanups = r.cleanups[:n-1]
		r.mu.Unlock()
		f()
	}
}
