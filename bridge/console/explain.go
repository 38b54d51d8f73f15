package console

import (
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

func (c *Console) explainMember(ctx echo.Context) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	key, err := param(ctx, "member")
	if err != nil {
		return err
	}
	var q ExplainQuery
	if q.At, err = timeQuery(ctx, "at"); err != nil {
		return err
	}
	if q.Since, err = timeQuery(ctx, "since"); err != nil {
		return err
	}
	if q.Zone, err = zoneQuery(ctx, "zone"); err != nil {
		return err
	}
	e, err := c.cfg.Backend.Explain(ctx.Request().Context(), account, key, q)
	if err != nil {
		return err
	}
	e.Sides, e.Waiting, e.Chain, e.Remarks = list(e.Sides), list(e.Waiting), list(e.Chain), list(e.Remarks)
	for i := range e.Sides {
		e.Sides[i].Because, e.Sides[i].Sentences = list(e.Sides[i].Because), list(e.Sides[i].Sentences)
	}
	return ctx.JSON(http.StatusOK, e)
}

// timeQuery is a moment in a query; zero if it is absent.
func timeQuery(ctx echo.Context, name string) (time.Time, error) {
	text := ctx.QueryParam(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, invalid(fmt.Sprintf("%s: want a moment as in RFC 3339, such as 2026-11-25T10:15:00Z", name))
	}
	return t.UTC(), nil
}

// zoneQuery is a zone in a query, by its offset or name.
func zoneQuery(ctx echo.Context, name string) (*time.Location, error) {
	text := ctx.QueryParam(name)
	if text == "" {
		return time.UTC, nil
	}
	return zoneOf(name, text)
}

// zoneOf reads a zone, by its offset or name.
func zoneOf(name, text string) (*time.Location, error) {
	if t, err := time.Parse("-07:00", text); err == nil {
		return t.Location(), nil
	}
	if zone, err := time.LoadLocation(text); err == nil && text != "Local" {
		return zone, nil
	}
	return nil, invalid(fmt.Sprintf("%s: want an offset such as +01:00, or a name such as Europe/Berlin", name))
}
