package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
)

const (
	resyncContoso  = "/api/v1/accounts/contoso/resync"
	resyncFabrikam = "/api/v1/accounts/fabrikam/resync"
	resyncAll      = "/api/v1/resync"
)

// held is a resync that goes on until it is released, or its context ends.
func held(release <-chan struct{}) func(context.Context, string, string, func(Progress)) error {
	return func(ctx context.Context, _, _ string, report func(Progress)) error {
		report(Progress{Total: 2})
		select {
		case <-release:
			report(Progress{Done: 2, Total: 2})
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func change(account string, i int) api.Change {
	return api.Change{Account: account, Member: fmt.Sprintf("id-%02d", i), UPN: "u", Side: "pbx.main.7", Before: "In a call", After: "In the office", Reason: "withdrawn"}
}

func (k *kit) job(t *testing.T, id, query string) api.Job {
	t.Helper()
	return read[api.Job](t, k.call(t, http.MethodGet, "/api/v1/jobs/"+id+query, ""), http.StatusOK)
}

func TestResyncSaysWhatItChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		step := make(chan struct{})
		k.backend.resync = func(_ context.Context, account, _ string, report func(Progress)) error {
			report(Progress{Total: 25})
			<-step
			report(Progress{Done: 10, Total: 25, Changed: []api.Change{change(account, 1)}})
			<-step
			report(Progress{Done: 25, Total: 25, Changed: []api.Change{change(account, 2), change(account, 3)}})
			return nil
		}
		w := k.call(t, http.MethodPost, resyncContoso, "{}")
		job := read[api.Job](t, w, http.StatusAccepted)
		require.Equal(t, "/api/v1/jobs/"+job.ID, w.Header().Get("Location"))
		require.Equal(t, api.Scope{Account: "contoso"}, job.Scope)
		require.Equal(t, api.JobRunning, job.State)

		synctest.Wait()
		job = k.job(t, job.ID, "")
		require.Equal(t, [3]int{0, 25, 0}, [3]int{job.Done, job.Total, job.ChangedCount})
		step <- struct{}{}
		job = k.job(t, job.ID, fmt.Sprintf("?wait=60&revision=%d", job.Revision))
		require.Equal(t, [3]int{10, 25, 1}, [3]int{job.Done, job.Total, job.ChangedCount})
		require.Empty(t, job.Changed, "listed when it has finished")
		step <- struct{}{}
		synctest.Wait()
		job = k.job(t, job.ID, "")
		require.Equal(t, api.JobDone, job.State)
		require.Equal(t, [3]int{25, 25, 3}, [3]int{job.Done, job.Total, job.ChangedCount})
		require.Equal(t, []api.Change{change("contoso", 1), change("contoso", 2), change("contoso", 3)}, job.Changed)
		require.False(t, job.FinishedAt.IsZero())
		require.Equal(t, []string{"contoso/"}, k.backend.asked)
	})
}

func TestResyncOfOneMember(t *testing.T) {
	k := newKit(t, nil)
	for _, key := range []string{"id-07", "USER07@contoso.com", "mail07@contoso.com"} {
		job := read[api.Job](t, k.call(t, http.MethodPost, resyncContoso, `{"member":"`+key+`"}`), http.StatusAccepted)
		require.Equal(t, api.Scope{Account: "contoso", Member: "id-07"}, job.Scope)
		k.jobs.running.Wait()
	}
	require.Equal(t, []string{"contoso/id-07", "contoso/id-07", "contoso/id-07"}, k.backend.asked)
	requireProblem(t, k.call(t, http.MethodPost, resyncContoso, `{"member":"nobody"}`), http.StatusNotFound, `"nobody"`)
}

func TestResyncOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		k.backend.resync = func(_ context.Context, account, _ string, report func(Progress)) error {
			if account == "fabrikam" {
				report(Progress{Done: 1, Total: 5})
				return errors.New("the PBX is gone")
			}
			report(Progress{Done: 25, Total: 25, Changed: []api.Change{change(account, 1)}})
			return nil
		}
		job := read[api.Job](t, k.call(t, http.MethodPost, resyncAll, ""), http.StatusAccepted)
		require.Zero(t, job.Scope)
		synctest.Wait()
		job = k.job(t, job.ID, "")
		require.Equal(t, api.JobFailed, job.State)
		require.Equal(t, "account fabrikam: the PBX is gone", job.Error)
		require.Equal(t, [2]int{26, 30}, [2]int{job.Done, job.Total}, "the other account was done all the same")
		require.Equal(t, []api.Change{change("contoso", 1)}, job.Changed)
	})
}

func TestOneResyncAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		release := make(chan struct{})
		k.backend.resync = held(release)
		start := func(path, body string) api.Job {
			return read[api.Job](t, k.call(t, http.MethodPost, path, body), http.StatusAccepted)
		}
		refused := func(by api.Job, path, body string) {
			t.Helper()
			w := k.call(t, http.MethodPost, path, body)
			p := requireProblem(t, w, http.StatusConflict, by.ID)
			require.Equal(t, by.ID, p.Job)
			require.Equal(t, api.ProblemJobRunning, p.Type)
			require.Equal(t, "/api/v1/jobs/"+by.ID, w.Header().Get("Location"))
		}
		one, two := start(resyncContoso, `{"member":"id-01"}`), start(resyncContoso, `{"member":"id-02"}`)
		refused(one, resyncContoso, `{"member":"user01@contoso.com"}`)
		refused(one, resyncContoso, "")
		refused(one, resyncAll, "")
		other := start(resyncFabrikam, "")
		refused(other, resyncFabrikam, "")
		close(release)
		synctest.Wait()
		for _, j := range []api.Job{one, two, other} {
			require.Equal(t, api.JobDone, k.job(t, j.ID, "").State)
		}

		k.backend.resync = held(make(chan struct{}))
		all := start(resyncAll, "")
		for _, path := range []string{resyncAll, resyncContoso, resyncFabrikam} {
			refused(all, path, "")
		}
		refused(all, resyncContoso, `{"member":"id-01"}`)
	})
}

func TestResyncRequests(t *testing.T) {
	k := newKit(t, nil)
	requireProblem(t, k.call(t, http.MethodPost, "/api/v1/accounts/nobody/resync", ""), http.StatusNotFound, "nobody")
	for body, detail := range map[string]string{
		`{`: "not what the API describes", `[]`: "want an object", `{"member":7}`: "member: want a string", `{"user":"x"}`: "user",
		`{} {}`: "more than one", `x`: "not what",
	} {
		requireProblem(t, k.call(t, http.MethodPost, resyncContoso, body), http.StatusBadRequest, detail)
	}
	requireProblem(t, k.call(t, http.MethodPost, resyncAll, `{"member":"id-01"}`), http.StatusBadRequest, "member")
	requireProblem(t, k.call(t, http.MethodPost, resyncContoso, `{"member":"`+strings.Repeat("x", maxRequest)+`"}`), http.StatusRequestEntityTooLarge, "longer than")
	require.Empty(t, k.backend.asked)
	require.Empty(t, k.jobs.all())
	for _, query := range []string{"?wait=x", "?wait=-1", "?wait=61", "?revision=x", "?revision=-1"} {
		requireProblem(t, k.call(t, http.MethodGet, "/api/v1/jobs/x"+query, ""), http.StatusBadRequest, strings.TrimLeft(strings.Split(query, "=")[0], "?"))
	}
	requireProblem(t, k.call(t, http.MethodGet, "/api/v1/jobs/x", ""), http.StatusNotFound, "no job x")
	requireProblem(t, k.call(t, http.MethodGet, "/api/v1/jobs/x?wait=60", ""), http.StatusNotFound, "no job x")
}

func TestResyncWantsJSON(t *testing.T) {
	k := newKit(t, nil)
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded"} {
		req := newRequest(http.MethodPost, resyncContoso, `{"member":"id-01"}`)
		req.Header.Set("Content-Type", kind)
		w := do(k, req)
		requireProblem(t, w, http.StatusUnsupportedMediaType, "application/json")
	}
	req := newRequest(http.MethodPost, resyncContoso, `{"member":"id-01"}`)
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	require.Equal(t, http.StatusAccepted, do(k, req).Code)
}

func TestWaitingForAJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		release := make(chan struct{})
		k.backend.resync = held(release)
		job := read[api.Job](t, k.call(t, http.MethodPost, resyncContoso, ""), http.StatusAccepted)
		synctest.Wait()
		job = k.job(t, job.ID, "?wait=60") // there is news for who knows nothing
		start := time.Now()
		same := k.job(t, job.ID, fmt.Sprintf("?wait=60&revision=%d", job.Revision))
		require.Equal(t, time.Minute, time.Since(start))
		require.Equal(t, job, same)

		// Closing sends home who waits, and ends the job.
		go func() { time.Sleep(time.Second); k.Close() }()
		start = time.Now()
		k.job(t, job.ID, fmt.Sprintf("?wait=60&revision=%d", job.Revision))
		require.Equal(t, time.Second, time.Since(start))
		synctest.Wait()
		job = k.job(t, job.ID, "")
		require.Equal(t, api.JobStopped, job.State)
		require.Equal(t, "the bridge is being stopped", job.Error)
		requireProblem(t, k.call(t, http.MethodPost, resyncContoso, ""), http.StatusServiceUnavailable, "being stopped")
	})
}

func TestReportsWithoutNewsWakeNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		more := make(chan Progress)
		k.backend.resync = func(_ context.Context, _, _ string, report func(Progress)) error {
			for p := range more {
				report(p)
			}
			return nil
		}
		job := read[api.Job](t, k.call(t, http.MethodPost, resyncContoso, ""), http.StatusAccepted)
		revision := func() uint64 { synctest.Wait(); return k.job(t, job.ID, "").Revision }
		require.EqualValues(t, 1, revision())
		for _, step := range []struct {
			p    Progress
			want uint64
		}{
			{Progress{}, 2}, {Progress{}, 2}, {Progress{Total: 9}, 3}, {Progress{Total: 9}, 3}, {Progress{Done: 1, Total: 9}, 4},
			{Progress{Done: 1, Total: 9, Changed: []api.Change{change("contoso", 1)}}, 5}, {Progress{Done: 1, Total: 9}, 5},
		} {
			more <- step.p
			require.Equal(t, step.want, revision(), "%+v", step.p)
		}
		close(more)
		require.EqualValues(t, 6, revision())
	})
}

// Many ask for the same thing, stop and start at once; of each scope only one runs at any moment.
func TestResyncsByMany(t *testing.T) {
	k := newKit(t, nil)
	var mu sync.Mutex
	active := map[string]int{}
	k.backend.resync = func(_ context.Context, account, member string, report func(Progress)) error {
		mu.Lock()
		active[account]++
		if member == "" && active[account] > 1 {
			t.Errorf("%s was under way already", account)
		}
		mu.Unlock()
		report(Progress{Done: 1, Total: 1, Changed: []api.Change{change(account, 1)}})
		mu.Lock()
		active[account]--
		mu.Unlock()
		return nil
	}
	var started atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 30 {
				path, body := resyncContoso, ""
				switch (i + n) % 4 {
				case 1:
					path = resyncFabrikam
				case 2:
					path = resyncAll
				case 3:
					body = fmt.Sprintf(`{"member":"id-%02d"}`, n%3)
				}
				req := newRequest(http.MethodPost, path, body)
				req.Header.Set("Content-Type", "application/json")
				switch code := do(k, req).Code; code {
				case http.StatusAccepted:
					started.Add(1)
				case http.StatusConflict:
				default:
					t.Errorf("%s answered %d", path, code)
				}
				do(k, newRequest(http.MethodGet, "/api/v1/jobs", ""))
			}
		})
	}
	wg.Wait()
	k.Close()
	require.Positive(t, started.Load())
	for _, j := range k.jobs.all() {
		require.Equal(t, api.JobDone, j.State)
		require.Positive(t, j.ChangedCount)
	}
}

func TestJobsAreForgotten(t *testing.T) {
	k := newKit(t, nil)
	release := make(chan struct{})
	k.backend.resync = func(ctx context.Context, account, _ string, report func(Progress)) error {
		if account == "fabrikam" {
			return held(release)(ctx, "", "", report)
		}
		return nil
	}
	running := read[api.Job](t, k.call(t, http.MethodPost, resyncFabrikam, ""), http.StatusAccepted)
	var first, last api.Job
	for i := range keepJobs + 10 {
		last = read[api.Job](t, k.call(t, http.MethodPost, resyncContoso, `{"member":"id-01"}`), http.StatusAccepted)
		if i == 0 {
			first = last
		}
		for k.job(t, last.ID, "?wait=60&revision=1").Running() {
			continue
		}
	}
	got := read[api.Jobs](t, k.call(t, http.MethodGet, "/api/v1/jobs", ""), http.StatusOK)
	require.Len(t, got.Jobs, keepJobs)
	require.Equal(t, last.ID, got.Jobs[0].ID)
	require.Equal(t, running.ID, got.Jobs[keepJobs-1].ID, "what runs is not forgotten")
	requireProblem(t, k.call(t, http.MethodGet, "/api/v1/jobs/"+first.ID, ""), http.StatusNotFound, "forgotten after a while")
	close(release)
}

func TestChangesAreBounded(t *testing.T) {
	k := newKit(t, nil)
	k.backend.resync = func(_ context.Context, account, _ string, report func(Progress)) error {
		for i := range 11 {
			report(Progress{Done: i, Total: 11, Changed: make([]api.Change, api.MaxChanges/10-1)})
		}
		return nil
	}
	job := read[api.Job](t, k.call(t, http.MethodPost, resyncContoso, ""), http.StatusAccepted)
	k.jobs.running.Wait()
	job = k.job(t, job.ID, "")
	require.Equal(t, 11*(api.MaxChanges/10-1), job.ChangedCount)
	require.Len(t, job.Changed, api.MaxChanges)
}
