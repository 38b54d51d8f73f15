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
			err := check.Check(limited)
			checks[i] = api.Check{Name: check.Name, OK: err == nil, Detail: checkDetail(err, c.cfg.CheckTimeout.String())}
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

func checkDetail(err error, limit string) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s", limit)
	default:
		return err.Error()
	}
}
