package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// figure is one line of the report.
type figure struct {
	Part   string  `json:"part"`
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Target float64 `json:"target,omitempty"` // 0: none; the value is to be at most this
	OK     bool    `json:"ok"`
	Note   string  `json:"note,omitempty"`
	// Rounds are the values of which this one is the median.
	Rounds []float64 `json:"rounds,omitempty"`
}

// report is the result of a run.
type report struct {
	At      time.Time `json:"at"`
	Go      string    `json:"go"`
	CPUs    int       `json:"cpus"`
	Quick   bool      `json:"quick,omitempty"`
	Figures []figure  `json:"figures"`
}

func newReport(quick bool) *report {
	return &report{At: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), CPUs: runtime.NumCPU(), Quick: quick}
}

// add notes a figure whose target, if any, is the most that it may be.
func (r *report) add(f figure) {
	if len(f.Rounds) > 0 {
		f.Value = median(f.Rounds)
	}
	f.OK = f.Target == 0 || f.Value <= f.Target
	r.Figures = append(r.Figures, f)
}

func (r *report) missed() int {
	n := 0
	for _, f := range r.Figures {
		if !f.OK {
			n++
		}
	}
	return n
}

func (r *report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "part\tfigure\tvalue\ttarget\t\trounds\tnote") // Flush says what went wrong
	for _, f := range r.Figures {
		target, verdict := "", ""
		if f.Target != 0 {
			target, verdict = "<= "+number(f.Target), "ok"
			if !f.OK {
				verdict = "MISSED"
			}
		}
		var rounds []string
		for _, x := range f.Rounds {
			rounds = append(rounds, number(x))
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s %s\t%s\t%s\t%s\t%s\n", f.Part, f.Name, number(f.Value), f.Unit, target, verdict,
			strings.Join(rounds, " "), f.Note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s, %d CPUs. Values are medians of rounds in which both sides of a ratio took turns; "+
		"absolute figures depend on the machine and its load.\n", r.Go, r.CPUs)
	return err
}

// number prints three significant digits.
func number(x float64) string {
	switch a := math.Abs(x); {
	case a >= 100 || a == 0:
		return fmt.Sprintf("%.0f", x)
	case a >= 10:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.2f", x)
	}
}

// median of some values; 0 of none.
func median(xs []float64) float64 { return quantile(xs, 0.5) }

// quantile is the value below which that part of the values lies; 0 of none.
func quantile(xs []float64, q float64) float64 {
	if len(xs) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(xs))
	at := q * float64(len(s)-1)
	low := int(at)
	if low+1 == len(s) {
		return s[low]
	}
	return s[low] + (at-float64(low))*(s[low+1]-s[low])
}
