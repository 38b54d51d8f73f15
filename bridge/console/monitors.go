package console

import (
	"context"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"presencebridge/bridge/console/client/api"
)

func (c *Console) listMonitors(ctx echo.Context) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	monitors, err := c.cfg.Backend.Monitors(ctx.Request().Context(), account)
	if err != nil {
		return err
	}
	return ctx.JSON(http.StatusOK, api.Monitors{Monitors: list(monitors)})
}

// addMonitor takes a user in as a monitor.
func (c *Console) addMonitor(ctx echo.Context) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	var in api.AddMonitorRequest
	if err := decode(ctx, &in); err != nil {
		return err
	}
	if in.UPN == "" {
		return invalid("upn: is missing: give the user principal name of an ordinary user")
	}
	m, err := c.cfg.Backend.AddMonitor(ctx.Request().Context(), account, in)
	if err != nil {
		return err
	}
	c.log.Info("monitor added by an administrator", "account", account)
	return ctx.JSON(http.StatusCreated, m)
}

func (c *Console) removeMonitor(ctx echo.Context) error {
	return c.monitorAction(ctx, "monitor removed by an administrator", c.cfg.Backend.RemoveMonitor)
}

func (c *Console) retryMonitor(ctx echo.Context) error {
	return c.monitorAction(ctx, "monitor tried again by an administrator", c.cfg.Backend.RetryMonitor)
}

// monitorAction has something done to a monitor and shows the monitor.
func (c *Console) monitorAction(ctx echo.Context, done string, do func(ctx context.Context, account, upn string) (api.Monitor, error)) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	upn, err := param(ctx, "upn")
	if err != nil {
		return err
	}
	m, err := do(ctx.Request().Context(), account, upn)
	if err != nil {
		return err
	}
	c.log.Info("a monitor was changed", "change", done, "account", account)
	return ctx.JSON(http.StatusOK, m)
}

// authorize begins a sign-in. The code or address in the answer is for a person, and whoever has it signs the
// monitor in: it is shown to who holds the token, and never logged.
func (c *Console) authorize(ctx echo.Context) error {
	return c.signIn(ctx, "authorisation of a monitor started", func(ctx context.Context, account, upn string, in api.AuthorizeRequest) (api.Authorization, error) {
		if in.ClientSecret != "" {
			return api.Authorization{}, invalid("client_secret: is not taken here: use renew")
		}
		return c.cfg.Backend.Authorize(ctx, account, upn, in)
	})
}

func (c *Console) renewMonitor(ctx echo.Context) error {
	return c.signIn(ctx, "renewal of a monitor started", c.cfg.Backend.RenewMonitor)
}

func (c *Console) signIn(ctx echo.Context, done string,
	begin func(ctx context.Context, account, upn string, in api.AuthorizeRequest) (api.Authorization, error),
) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	upn, err := param(ctx, "upn")
	if err != nil {
		return err
	}
	var in api.AuthorizeRequest
	if err := decode(ctx, &in); err != nil {
		return err
	}
	a, err := begin(ctx.Request().Context(), account, upn, in)
	if err != nil {
		return err
	}
	c.log.Info("a sign-in was started", "by", done, "account", account, "authorization", a.ID, "method", string(a.Method))
	ctx.Response().Header().Set(echo.HeaderLocation, "/api/v1/accounts/"+url.PathEscape(account)+"/authorizations/"+url.PathEscape(a.ID))
	return ctx.JSON(http.StatusAccepted, a)
}

func (c *Console) getAuthorization(ctx echo.Context) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	id, err := param(ctx, "id")
	if err != nil {
		return err
	}
	wait, err := waitQuery(ctx)
	if err != nil {
		return err
	}
	waiting, cancel := c.untilStopped(ctx.Request().Context())
	defer cancel()
	a, err := c.cfg.Backend.Authorization(waiting, account, id, wait)
	if err != nil {
		return err
	}
	return ctx.JSON(http.StatusOK, a)
}

// untilStopped is a context that ends when the console is closed as well.
func (c *Console) untilStopped(parent context.Context) (ctx context.Context, cancel func()) {
	ctx, end := context.WithCancel(parent)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-c.stopping:
			end()
		case <-ctx.Done():
		}
	}()
	return ctx, func() { end(); <-done }
}
