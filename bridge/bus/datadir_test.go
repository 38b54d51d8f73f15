package bus

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestSecondProcessIsRefused(t *testing.T) {
	cfg := testConfig(t)
	b := openBus(t, cfg)
	_, err := Open(t.Context(), cfg)
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, cfg.DataDir, "the error names the directory")
	require.ErrorContains(t, err, "data_dir of its own", "and the remedy")
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte("x"), time.Now(), ""), "the first one is not disturbed")
	closeBus(t, b)
	require.NoError(t, b.Close(t.Context()), "closing twice is no error")
	openBus(t, cfg)
}

func TestCleanStart(t *testing.T) {
	cfg := testConfig(t)
	b := openBus(t, cfg)
	require.False(t, b.CleanStart(), "nothing is known on the first start")
	closeBus(t, b)
	b = openBus(t, cfg)
	require.True(t, b.CleanStart())
	require.NoFileExists(t, filepath.Join(cfg.DataDir, cleanName), "the marker is gone while the bus runs")
	closeBus(t, b)

	require.NoError(t, os.WriteFile(filepath.Join(cfg.DataDir, cleanName), []byte("half a mar"), 0o600))
	b = openBus(t, cfg)
	require.False(t, b.CleanStart(), "a broken marker vouches for nothing")
}

func TestConfigErrorsNameTheKey(t *testing.T) {
	for key, cfg := range map[string]Config{
		"data_dir":              {},
		"nats.max_store":        {DataDir: "x", MaxStore: 1},
		"nats.sync":             {DataDir: "x", Sync: -1},
		"history":               {DataDir: "x", History: -1},
		"nats.credentials_file": {URL: "nats://localhost", CredentialsFile: "/does/not/exist"},
		"nats.ca_file":          {DataDir: "x", CAFile: "/etc/passwd"},
	} {
		_, err := Open(t.Context(), cfg)
		require.ErrorContains(t, err, key)
	}
	for in, want := range map[string]Sync{"": SyncAlways, "always": SyncAlways, "10s": Sync(10 * time.Second)} {
		got, err := ParseSync(in)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{"never", "-1s", "0s"} {
		_, err := ParseSync(bad)
		require.ErrorContains(t, err, "nats.sync")
	}
}

func TestSyncIsCheckedAtStart(t *testing.T) {
	e := &embedded{dir: t.TempDir(), sync: SyncAlways, max: minMaxStore, log: testConfig(t).Log}
	require.NoError(t, e.start(t.Context()))
	defer e.stop()
	e.sync = Sync(time.Minute)
	require.ErrorContains(t, e.check(e.server, patience), "nats.sync is 1m0s, but the server runs with always true")
	e.sync = SyncAlways
	require.NoError(t, e.check(e.server, patience))
}

// The child processes of the tests below run the test binary again, told by this variable what to do.
const childMode = "BUS_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childMode) {
	case "":
		os.Exit(m.Run())
	case "store":
		childStore()
	case "process":
		report(childProcess())
	case "full-disk":
		report(childFullDisk())
	}
}

func report(err error) {
	if err != nil {
		fmt.Println("FAILED", err)
		os.Exit(1)
	}
	fmt.Println("OK")
}

func child(t *testing.T, mode, dir string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childMode+"="+mode, "BUS_TEST_DIR="+dir)
	cmd.Stderr = t.Output()
	return cmd
}

func childConfig() Config {
	return Config{DataDir: os.Getenv("BUS_TEST_DIR"), MaxStore: 256 << 20, MinFree: -1, History: time.Hour, PublishTimeout: patience}
}

// childStore stores bodies and records from many callers until it is killed, and prints each one
// after it was acknowledged.
func childStore() {
	ctx := context.Background()
	b, err := Open(ctx, childConfig())
	if err != nil {
		fmt.Println("FAILED", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	var n atomic.Int64
	var wg sync.WaitGroup
	for worker := range 32 {
		wg.Go(func() {
			var rev uint64
			for {
				i := n.Add(1)
				if err := b.StoreNotification(ctx, "contoso", strconv.AppendInt(nil, i, 10), time.Now(), ""); err == nil {
					say("body %d", i)
				}
				if rev, err = b.Bucket(State).Put(ctx, "contoso", fmt.Sprint("member-", worker), strconv.AppendInt(nil, i, 10), rev); err == nil {
					say("record %d %d %d", worker, i, rev)
				}
			}
		})
	}
	wg.Wait()
}

// TestKillLosesNothing kills a process in the middle of its writes. Everything that it had been told
// was stored is there afterwards, the lock is free, and the stop counts as unclean.
func TestKillLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bodies := make(map[string]bool)
	records := make(map[string][2]int)
	for range 2 {
		cmd := child(t, "store", dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 600 {
				require.NoError(t, cmd.Process.Kill())
			}
			var worker, i, rev int
			if _, err := fmt.Sscanf(lines.Text(), "body %d", &i); err == nil {
				bodies[strconv.Itoa(i)] = true
			} else if _, err := fmt.Sscanf(lines.Text(), "record %d %d %d", &worker, &i, &rev); err == nil {
				records[fmt.Sprint("member-", worker)] = [2]int{i, rev}
			} else {
				require.NotContains(t, lines.Text(), "FAILED")
			}
		}
		require.Error(t, cmd.Wait(), "killed")
	}
	cfg := testConfig(t)
	cfg.DataDir = dir
	b := openBus(t, cfg)
	require.False(t, b.CleanStart())
	for key, want := range records {
		e, err := b.Bucket(State).Get(t.Context(), "contoso", key)
		require.NoError(t, err)
		require.GreaterOrEqual(t, e.Revision, uint64(want[1]), "a write that was not acknowledged may have landed after it")
	}
	require.NotEmpty(t, bodies)
	left := len(bodies)
	done := make(chan struct{})
	gaps := make(chan Gap, 10)
	last := uint64(0)
	consume(t, b, "contoso", nil, func(x *Body) {
		assert.Greater(t, x.Seq, last)
		last = x.Seq
		if bodies[string(x.Data)] {
			if left--; left == 0 {
				close(done)
			}
		}
		assert.NoError(t, x.Ack())
	}, OnGap(func(g Gap) { gaps <- g }))
	receive(t, done)
}

// childProcess stores and processes three bodies, prints the last sequence and waits to be killed.
func childProcess() error {
	ctx := context.Background()
	b, err := Open(ctx, childConfig())
	if err != nil {
		return err
	}
	for range 3 {
		err = errors.Join(err, b.StoreNotification(ctx, "contoso", []byte("x"), time.Now(), ""))
	}
	if err != nil {
		return err
	}
	var last atomic.Uint64
	go func() {
		_ = b.Consume(ctx, "contoso", nil, func(x *Body) { last.Store(x.Seq); _ = x.Ack() })
	}()
	err = eventually(func() error {
		info, err := b.stream(streamGraphIn).Info(ctx)
		if err == nil && info.State.Msgs > 0 {
			err = errors.New("bodies are still there")
		}
		return err
	})
	if err != nil {
		return err
	}
	fmt.Println(last.Load())
	select {}
}

func TestSequenceSurvivesAnEmptyStreamAndAKill(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cmd := child(t, "process", cfg.DataDir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var last uint64
	_, err = fmt.Fscanln(out, &last)
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())

	b := openBus(t, cfg)
	require.False(t, b.CleanStart())
	gaps, bodies := make(chan Gap, 1), make(chan *Body, 1)
	consume(t, b, "contoso", nil, func(x *Body) { bodies <- x }, OnGap(func(g Gap) { gaps <- g }))
	require.Equal(t, GapUnknown, receive(t, gaps).Reason, "after an unclean stop nobody knows")
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte("x"), time.Now(), ""))
	require.Greater(t, receive(t, bodies).Seq, last, "sequences never start again: they are the order of pushes")
}

// childFullDisk lets every write fail for a while, as a full disk does, and expects the bus to come
// back by itself, with everything attached to it.
func childFullDisk() error {
	ctx := context.Background()
	cfg := childConfig()
	cfg.PublishTimeout = 3 * time.Second
	b, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	store := func() error { return b.StoreNotification(ctx, "contoso", []byte("x"), time.Now(), "") }
	bodies := make(chan *Body, 1000)
	consumed := make(chan error, 1)
	cctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { consumed <- b.Consume(cctx, "contoso", nil, func(x *Body) { bodies <- x; _ = x.Ack() }) }()
	stop, err := b.ServeCommands("contoso", func(context.Context, []byte) []byte { return []byte("pong") })
	if err != nil {
		return err
	}
	rev, err := b.Bucket(Replicas).Put(ctx, "", "me", []byte("1"), 0)
	if err = errors.Join(err, store()); err != nil {
		return err
	}
	<-bodies

	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	full := limit
	full.Cur = 0 // EFBIG on every write
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &full); err != nil {
		return err
	}
	timeouts := 0
	for range 3 {
		if err := store(); errors.Is(err, ErrUnavailable) {
			timeouts++
		}
	}
	if timeouts != 3 {
		return fmt.Errorf("%d of 3 stores failed on a full disk", timeouts)
	}
	if b.Ready() == nil {
		return errors.New("ready on a full disk")
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	if err := eventually(func() error { return errors.Join(b.Ready(), store()) }); err != nil {
		return fmt.Errorf("after the disk had room again: %w", err)
	}
	select {
	case <-bodies:
	case <-time.After(patience):
		return errors.New("the consumer is not attached any more")
	}
	answer, err := b.Command(ctx, "contoso", []byte("ping"))
	if err != nil || string(answer) != "pong" {
		return fmt.Errorf("the command server is not attached any more: %w", err)
	}
	if _, err := b.Bucket(Replicas).Put(ctx, "", "me", []byte("2"), 0); err != nil {
		return fmt.Errorf("the bucket in memory (was at %d): %w", rev, err)
	}
	cancel()
	stop()
	return errors.Join(<-consumed, b.Close(ctx))
}

func eventually(try func() error) error {
	var err error
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); {
		if err = try(); err == nil {
			return nil
		}
		<-time.After(50 * time.Millisecond)
	}
	return err
}

func TestFullDiskRestartsTheServer(t *testing.T) {
	t.Parallel()
	cmd := child(t, "full-disk", t.TempDir())
	out, err := cmd.Output()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "OK", strings.TrimSpace(string(out)))
}

func TestMarkerRemembersHowFarWasRead(t *testing.T) {
	cfg := testConfig(t)
	b := openBus(t, cfg)
	bodies := make(chan *Body, 10)
	stop := consume(t, b, "contoso", nil, func(x *Body) { bodies <- x })
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte("x"), time.Now(), ""))
	require.NoError(t, receive(t, bodies).Ack())
	stop()
	closeBus(t, b)

	file := filepath.Join(cfg.DataDir, cleanName)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var marker cleanStop
	require.NoError(t, json.Unmarshal(data, &marker))
	require.WithinDuration(t, time.Now(), marker.ReadTo["contoso"], time.Minute)

	gaps := make(chan Gap, 10)
	b = openBus(t, cfg)
	stop = consume(t, b, "contoso", nil, func(x *Body) { bodies <- x; _ = x.Ack() }, OnGap(func(g Gap) { gaps <- g }))
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte("y"), time.Now(), ""))
	receive(t, bodies)
	stop()
	closeBus(t, b)
	require.Empty(t, gaps, "a clean stop of seconds loses nothing")

	marker.ReadTo["contoso"] = time.Now().Add(-2 * MaxBodyAge)
	data, err = json.Marshal(marker)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, data, 0o600))
	b = openBus(t, cfg)
	consume(t, b, "contoso", nil, func(*Body) {}, OnGap(func(g Gap) { gaps <- g }))
	require.Equal(t, GapExpired, receive(t, gaps).Reason, "bodies may have expired while nobody ran")
}
