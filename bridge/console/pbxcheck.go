package console

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"presencebridge/bridge/console/client/api"
)

// checkPBXs has the owner of an account try its PBXs now.
func (c *Console) checkPBXs(ctx echo.Context) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	list, err := c.cfg.Backend.CheckPBXs(ctx.Request().Context(), account)
	if err != nil {
		return err
	}
	if list == nil {
		list = []api.PBXCheck{}
	}
	return ctx.JSON(http.StatusOK, api.PBXChecks{PBXs: list})
}
