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

func measure(ctx context.Context, args []string, out, errs io.Writer) (err error) {
	all := parts()
	var names []string
	for _, p := range all {
		names = append(names, p.name)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(errs)
	file := flags.String("json", "", "write the figures to this file too")
	only := flags.String("only", strings.Join(names, ","), "parts to run")
	quick := flags.Bool("quick", false, "short rounds and few members: to see that it works, not to judge by")
	strict := flags.Bool("strict", false, "exit status 1 if a target is missed")
	keep := flags.Bool("keep", false, "keep the folder with the bridges' data and logs")
	profile := flags.String("profile", "", "folder for CPU profiles of the processes that are measured")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen := strings.Split(*only, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return fmt.Errorf("--only %s: use some of %s", name, strings.Join(names, ","))
		}
	}
	dir, err := os.MkdirTemp("", "presence-bridge-bench-")
	if err != nil {
		return err
	}
	defer func() {
		if *keep {
			_, err2 := fmt.Fprintln(errs, "kept:", dir)
			err = errors.Join(err, err2)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	b := &bench{dir: dir, profile: *profile, quick: *quick, out: out, say: errs, report: newReport(*quick)}
	var failed []error
	for _, p := range all {
		if !slices.Contains(chosen, p.name) {
			continue
		}
		if err := p.run(ctx, b); err != nil { // the other parts' figures stand
			failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err := b.report.print(out); err != nil {
		return err
	}
	if *file != "" {
		if err := b.report.write(*file); err != nil {
			return err
		}
	}
	if *strict && b.report.missed() > 0 {
		failed = append(failed, fmt.Errorf("%d targets are missed", b.report.missed()))
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
