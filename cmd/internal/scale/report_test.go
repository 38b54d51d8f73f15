package scale

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"presencebridge/graph/graphsim"
)

// report collects what each phase took and asked of Graph.
type report struct {
	site *site
	rows []row
}

// row is one phase.
type row struct {
	name, took, limit, remark string
	calls                     map[string]int64
}

// classes are the budgets, in the order of the table.
func classes() []string {
	return []string{"read", "write", "subscription", "subscription-list", "directory", "login"}
}

// class is the budget that an operation counts against.
func class(op string) string {
	switch op {
	case "getPresence", "getPresencesByUserId":
		return "read"
	case "createSubscription", "renewSubscription", "deleteSubscription", "getSubscription":
		return "subscription"
	case "listSubscriptions":
		return "subscription-list"
	case "token", "devicecode", "authorize":
		return "login"
	}
	if strings.Contains(op, "Presence") || strings.Contains(op, "StatusMessage") {
		return "write"
	}
	return "directory"
}

func calls(st graphsim.Stats) map[string]int64 {
	out := map[string]int64{}
	for op, statuses := range st.Requests {
		for _, n := range statuses {
			out[class(op)] += n
			out[op] += n
		}
	}
	return out
}

// phase runs one and notes it. What it returns is the time that counts, the most that it may be (0: none is promised),
// and a remark.
func (r *report) phase(name string, run func() (took, limit time.Duration, remark string)) {
	r.site.t.Logf("%s …", name)
	before := calls(r.site.graph.Stats())
	took, limit, remark := run()
	after := calls(r.site.graph.Stats())
	for k := range after {
		after[k] -= before[k]
	}
	x := row{name: name, took: took.Round(100 * time.Millisecond).String(), remark: remark, calls: after}
	if limit > 0 {
		x.limit = limit.String()
	}
	r.rows = append(r.rows, x)
	r.site.t.Logf("%s: %s", name, x.took)
}

// String is the table.
func (r *report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	// What goes into the builder cannot fail.
	_, _ = fmt.Fprintf(w, "phase\ttook\tpromised\t%s\tremark\n", strings.Join(classes(), "\t"))
	sum := map[string]int64{}
	for _, x := range r.rows {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", x.name, x.took, x.limit, counts(x.calls), x.remark)
		for k, n := range x.calls {
			sum[k] += n
		}
	}
	st := r.site.graph.Stats()
	_, _ = fmt.Fprintf(w, "all\t\t\t%s\t\n", counts(sum))
	_, _ = fmt.Fprintf(w, "most in one window\t\t\t%s\t\n", counts(st.Peaks))
	_, _ = fmt.Fprintf(w, "budget of it\t\t\t%s\t1,500 and 1,200 in 30 s, 500 and 25 in 20 s, 8,000 in 10 s\n", counts(map[string]int64{
		"read": 1500, "write": 1200, "subscription": 500, "subscription-list": 25, "directory": 8000}))
	_, _ = fmt.Fprintf(w, "refused (429)\t\t\t%s\t\n", counts(st.Refused))
	_ = w.Flush()
	return b.String()
}

func counts(by map[string]int64) string {
	var out []string
	for _, c := range classes() {
		out = append(out, fmt.Sprint(by[c]))
	}
	return strings.Join(out, "\t")
}

// operations says how often each was asked for, in all.
func operations(st graphsim.Stats) string {
	var out []string
	for _, op := range slices.Sorted(maps.Keys(st.Requests)) {
		for _, status := range slices.Sorted(maps.Keys(st.Requests[op])) {
			out = append(out, fmt.Sprintf("%s %d: %d", op, status, st.Requests[op][status]))
		}
	}
	return strings.Join(out, ", ")
}
