package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/labstack/echo/v4"

	"presencebridge/bridge/console/client/api"
)

// ReadyCheck is one named condition for being ready. Check returns nil if it holds, and otherwise what
// is missing, in words fit for whoever can reach the listener.
type ReadyCheck struct {
	Name  string
	Check func(ctx context.Context) error
	// Describe is asked in the place of Check where it is set; what it says is shown when the condition holds.
	Describe func(ctx context.Context) (string, error)
}

// ask asks whether the condition holds.
func (r ReadyCheck) ask(ctx context.Context) (string, error) {
	if r.Describe != nil {
		return r.Describe(ctx)
	}
	return "", r.Check(ctx)
}

// health says that the process is alive and its listener answers: nothing about whether it is of use.
func (c *Console) health(ctx echo.Context) error {
	return ctx.JSON(http.StatusOK, api.Health{Status: "ok", Version: c.cfg.Version})
}

// ready runs all checks at once. Each has Config.CheckTimeout, and must return when its context ends.
func (c *Console) ready(ctx echo.Context) error {
	checks := make([]api.Check, len(c.cfg.Checks))
	var wg sync.WaitGroup
	for i, check := range c.cfg.Checks {
		wg.Go(func() {
			limited, cancel := context.WithTimeout(ctx.Request().Context(), c.cfg.CheckTimeout)
			defer cancel()
			said, err := check.ask(limited)
			checks[i] = api.Check{Name: check.Name, OK: err == nil, Detail: checkDetail(said, err, c.cfg.CheckTimeout.String())}
		})
	}
	wg.Wait()
	status, answer := http.StatusOK, api.Readiness{Ready: true, Checks: checks}
	for _, check := range checks {
		if !check.OK {
			status, answer.Ready = http.StatusServiceUnavailable, false
		}
	}
	return ctx.JSON(status, answer)
}

func checkDetail(said string, err error, limit string) string {
	switch {
	case err == nil:
		return said
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s", limit)
	default:
		return err.Error()
	}
}
