// Command bench shows how the bridge stands against its targets, in one run on one machine: what an
// acknowledgement costs against a bare handler, what a notification costs from POST to PBX write against the RSA
// operation in it, how the decoder of a bulk read compares with the SDK's, memory per member, and the bridge's own
// share of latency at 200 changes a second.
//
// Whatever is measured runs in a process of its own, and so do its surroundings: the program starts itself again
// in a role (see roles in child.go) and asks that process for its CPU time (getrusage). Ratios are taken within a
// round, in which the two sides take turns, and the median round counts: absolute figures of a shared machine are
// worth little.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// bench is one run of the program.
type bench struct {
	dir     string // everything temporary
	profile string // folder for CPU profiles; "" for none
	quick   bool
	out     io.Writer
	say     io.Writer // progress
	report  *report
}

// part is a group of figures that can be run alone.
type part struct {
	name string
	run  func(context.Context, *bench) error
}

func parts() []part {
	return []part{
		{"ack", ackPart}, {"item", itemPart}, {"latency", latencyPart}, {"decoder", decoderPart}, {"memory", memoryPart},
	}
}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(args) > 1 && args[0] == roleArg {
		err = play(ctx, args[1], args[2:], in, out)
	} else {
		err = measure(ctx, args, out, errs)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(errs, "bench:", err)
		return 1
	}
	return 0
}

// options are what a run is asked for.
type options struct {
	only                []string // parts
	file, profile       string   // "" for none
	quick, strict, keep bool
}

func parse(args []string, errs io.Writer) (options, error) {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	all := strings.Join(names, ",")
	var (
		o    options
		only string
	)
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(errs)
	for _, f := range []struct {
		name, value, usage string
		at                 *string
	}{
		{"json", "", "write the figures to this file too", &o.file},
		{"only", all, "parts to run", &only},
		{"profile", "", "folder for CPU profiles of the processes that are measured", &o.profile},
	} {
		flags.StringVar(f.at, f.name, f.value, f.usage)
	}
	for _, f := range []struct {
		name, usage string
		at          *bool
	}{
		{"quick", "short rounds and few members: to see that it works, not to judge by", &o.quick},
		{"strict", "exit status 1 if a target is missed", &o.strict},
		{"keep", "keep the folder with the bridges' data and logs", &o.keep},
	} {
		flags.BoolVar(f.at, f.name, false, f.usage)
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.only = strings.Split(only, ",")
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			return o, fmt.Errorf("--only %s: use some of %s", name, all)
		}
	}
	return o, nil
}

func measure(ctx context.Context, args []string, out, errs io.Writer) (err error) {
	o, err := parse(args, errs)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "presence-bridge-bench-")
	if err != nil {
		return err
	}
	defer func() {
		if o.keep {
			_, err2 := fmt.Fprintln(errs, "kept:", dir)
			err = errors.Join(err, err2)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	b := &bench{dir: dir, profile: o.profile, quick: o.quick, out: out, say: errs, report: newReport(o.quick)}
	failed := b.run(ctx, o.only)
	if err := b.report.print(out); err != nil {
		return err
	}
	if o.file != "" {
		if err := b.report.write(o.file); err != nil {
			return err
		}
	}
	if o.strict && b.report.missed() > 0 {
		failed = errors.Join(failed, fmt.Errorf("%d targets are missed", b.report.missed()))
	}
	return failed
}

// run runs the parts that were chosen. One that fails leaves the others' figures standing.
func (b *bench) run(ctx context.Context, chosen []string) error {
	var failed []error
	for _, p := range parts() {
		if ctx.Err() != nil || !slices.Contains(chosen, p.name) {
			continue
		}
		if err := p.run(ctx, b); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	return errors.Join(failed...)
}

func (b *bench) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(b.say, format+"\n", args...) // progress is for people; losing it costs nothing
}

// pick is the full value, or with --quick the small one.
func pick[T any](b *bench, full, small T) T {
	if b.quick {
		return small
	}
	return full
}

func (r *report) write(file string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o600)
}
