package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// roleArg is the first argument of a process that plays a role.
const roleArg = "role"

// A role is what a process of its own does: start it with JSON arguments, then obey orders until the input ends.
type role func(ctx context.Context, args json.RawMessage) (*played, error)

// played is a role under way.
type played struct {
	hello  any // what the parent has to know, as JSON
	orders map[string]func(json.RawMessage) (any, error)
	stop   func() error
}

func roles() map[string]role {
	return map[string]role{
		"receiver": playReceiver, "bare": playBare, "rsa": playRSA, "tenant": playTenant, "pbx": playPBX,
		"bridge": playBridge, "engine": playEngine,
	}
}

// usage is what a process has taken so far.
type usage struct {
	CPU  time.Duration `json:"cpu"`      // user and system
	RSS  int64         `json:"rss"`      // bytes, now
	Peak int64         `json:"rss_peak"` // bytes
}

// order is one line to a child, answer one from it.
type order struct {
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args,omitempty"`
}

type answer struct {
	Error string          `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// play plays a role until the input ends.
func play(ctx context.Context, name string, args []string, in io.Reader, out io.Writer) (err error) {
	start, ok := roles()[name]
	if !ok || len(args) != 1 {
		return fmt.Errorf("%s %q with %d arguments: only the benchmark itself starts these", roleArg, name, len(args))
	}
	p, err := start(ctx, json.RawMessage(args[0]))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer func() {
		if p.stop != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	enc := json.NewEncoder(out)
	if err := enc.Encode(p.hello); err != nil {
		return err
	}
	dec := json.NewDecoder(bufio.NewReader(in))
	for {
		var o order
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := enc.Encode(p.obey(o)); err != nil {
			return err
		}
	}
}

func (p *played) obey(o order) answer {
	do := p.orders[o.Op]
	switch o.Op {
	case "usage":
		do = func(json.RawMessage) (any, error) { return ownUsage() }
	case "profile":
		do = profile
	}
	if do == nil {
		return answer{Error: fmt.Sprintf("no order %q", o.Op)}
	}
	v, err := do(o.Args)
	if err != nil {
		return answer{Error: err.Error()}
	}
	data, err := json.Marshal(v)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Value: data}
}

// profile writes a CPU profile to the file given, until it is ordered again without one.
func profile(args json.RawMessage) (any, error) {
	var file string
	if err := json.Unmarshal(args, &file); err != nil {
		return nil, err
	}
	pprof.StopCPUProfile()
	if file == "" {
		return nil, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	return nil, pprof.StartCPUProfile(f)
}

func ownUsage() (usage, error) {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return usage{}, err
	}
	u := usage{CPU: time.Duration(ru.Utime.Nano() + ru.Stime.Nano())}
	u.RSS, u.Peak = memory()
	return u, nil
}

// memory is the resident set of this process, now and at its peak, where the system tells (Linux).
func memory() (now, peak int64) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		switch {
		case err != nil:
		case name == "VmRSS":
			now = kib << 10
		case name == "VmHWM":
			peak = kib << 10
		}
	}
	return now, peak
}

// child is a process that plays a role.
type child struct {
	name string
	cmd  *exec.Cmd

	mu  sync.Mutex // one order at a time
	in  io.WriteCloser
	out *json.Decoder
}

// start starts a role on two CPUs, as the targets have it, and waits for its hello.
func start(ctx context.Context, name string, args, hello any) (*child, error) {
	data, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, roleArg, name, string(data)) //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2")
	cmd.Stderr = os.Stderr
	// Ctrl-C reaches the parent alone: it ends the children.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{name: name, cmd: cmd, in: in, out: json.NewDecoder(out)}
	if err := c.out.Decode(hello); err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start: %w", name, err), c.stop())
	}
	return c, nil
}

// order gives an order and waits for what came of it.
func (c *child) order(op string, args, result any) error {
	data, err := json.Marshal(args)
	if err != nil {
		return err
	}
	line, err := json.Marshal(order{Op: op, Args: data})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%s: %s: %w", c.name, op, err)
	}
	var a answer
	if err := c.out.Decode(&a); err != nil {
		return fmt.Errorf("%s: %s: %w", c.name, op, err)
	}
	if a.Error != "" {
		return fmt.Errorf("%s: %s: %s", c.name, op, a.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(a.Value, result)
}

func (c *child) usage() (usage, error) {
	var u usage
	err := c.order("usage", nil, &u)
	return u, err
}

// profiled runs f while the child writes a profile, if profiles are wanted.
func (b *bench) profiled(c *child, name string, f func() error) error {
	if b.profile == "" {
		return f()
	}
	file, err := filepath.Abs(filepath.Join(b.profile, name+".pprof"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.profile, 0o700); err != nil {
		return err
	}
	if err := c.order("profile", file, nil); err != nil {
		return err
	}
	return errors.Join(f(), c.order("profile", "", nil))
}

// stop ends the child and waits for it.
func (c *child) stop() error {
	if err := errors.Join(c.in.Close(), c.cmd.Wait()); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

// stopAll ends children, the last one first.
func stopAll(cs ...*child) error {
	var errs []error
	for i := len(cs) - 1; i >= 0; i-- {
		if cs[i] != nil {
			errs = append(errs, cs[i].stop())
		}
	}
	return errors.Join(errs...)
}

// freeMemory gives back what the start took, so that what stands is measured.
func freeMemory() { debug.FreeOSMemory() }
