package console

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// reseal has the secrets of every account sealed again. Nothing secret passes here: the key is in a file.
func (c *Console) reseal(ctx echo.Context) error {
	done, err := c.cfg.Backend.Reseal(ctx.Request().Context())
	if err != nil {
		return err
	}
	c.log.Info("stored secrets were sealed again", "key", done.Key, "values", done.Values, "resealed", done.Resealed, "unreadable", done.Unreadable)
	return ctx.JSON(http.StatusOK, done)
}

func (c *Console) rotateCertificate(ctx echo.Context) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	done, err := c.cfg.Backend.RotateCertificate(ctx.Request().Context(), account)
	if err != nil {
		return err
	}
	c.log.Info("encryption certificate rotated by an administrator", "account", account, "certificate", done.CertificateID)
	return ctx.JSON(http.StatusOK, done)
}
