package console

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// probe has Graph reach the bridge now.
func (c *Console) probe(ctx echo.Context) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	p, err := c.cfg.Backend.Probe(ctx.Request().Context(), account)
	if err != nil {
		return err
	}
	c.log.Info("whether Graph reaches the bridge was tried", "account", account, "state", string(p.State))
	return ctx.JSON(http.StatusOK, p)
}
