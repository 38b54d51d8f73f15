package bus

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// cpu reports the processor time of one operation, server included, beside its duration.
func cpu(b *testing.B) (report func()) {
	used := func() time.Duration {
		var r unix.Rusage
		require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &r))
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	before := used()
	return func() {
		b.ReportMetric(float64((used()-before).Microseconds())/float64(b.N), "cpu-us/op")
	}
}

// syncs are the two settings that matter for what a store costs.
func syncs(b *testing.B, run func(b *testing.B, cfg Config)) {
	for _, s := range []Sync{SyncAlways, Sync(time.Minute)} {
		b.Run("sync="+s.String(), func(b *testing.B) {
			cfg := testConfig(b)
			cfg.Sync, cfg.MaxStore = s, 8<<30
			run(b, cfg)
		})
	}
}

func BenchmarkStoreNotification(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 3<<10) // a rich item
	for _, callers := range []int{1, 64} {
		b.Run("callers="+strconv.Itoa(callers), func(b *testing.B) {
			syncs(b, func(b *testing.B, cfg Config) {
				bus := openBus(b, cfg)
				b.SetParallelism((callers + 1) / 2)
				b.ReportAllocs()
				now := time.Now()
				defer cpu(b)()
				b.ResetTimer()
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						if err := bus.StoreNotification(b.Context(), "contoso", body, now, ""); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		})
	}
}

func BenchmarkPut(b *testing.B) {
	value := bytes.Repeat([]byte("x"), 1<<10) // a record
	for _, waiting := range []int{1, 64, 500} {
		b.Run("waiting="+strconv.Itoa(waiting), func(b *testing.B) {
			syncs(b, func(b *testing.B, cfg Config) {
				k := openBus(b, cfg).Bucket(State)
				revs := make([]uint64, waiting)
				b.ReportAllocs()
				defer cpu(b)()
				b.ResetTimer()
				for done := 0; done < b.N; done += waiting {
					var wg sync.WaitGroup
					for i := range revs {
						wg.Add(1)
						k.PutAsync("contoso", fmt.Sprintf("member-%d", i), value, revs[i], func(rev uint64, err error) {
							if err != nil {
								b.Error(err)
							}
							revs[i] = rev
							wg.Done()
						})
					}
					wg.Wait()
				}
			})
		})
	}
}

func BenchmarkConsume(b *testing.B) {
	syncs(b, func(b *testing.B, cfg Config) {
		bus := openBus(b, cfg)
		body := bytes.Repeat([]byte("x"), 3<<10)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range (b.N + 63) / 64 {
					require.NoError(b, bus.StoreNotification(b.Context(), "contoso", body, time.Now(), ""))
				}
			})
		}
		wg.Wait()
		n := (b.N + 63) / 64 * 64
		b.ReportAllocs()
		defer cpu(b)()
		b.ResetTimer()
		done := make(chan struct{})
		stop := consume(b, bus, "contoso", func([]byte) time.Duration { return 700 * time.Microsecond }, func(x *Body) {
			require.NoError(b, x.Ack())
			if n--; n == 0 {
				close(done)
			}
		})
		<-done
		b.StopTimer()
		stop()
	})
}

func BenchmarkObservation(b *testing.B) {
	data := []byte(`{"pair":{"availability":"Busy","activity":"InACall"},"source":"push"}`)
	b.ReportAllocs()
	for b.Loop() {
		_, err := observation("contoso", "6c1f9d2e-0000-4000-8000-000000000001", "pbx.main.1001", data, time.Now())
		require.NoError(b, err)
	}
}
