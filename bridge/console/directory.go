package console

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"presencebridge/bridge/console/client/api"
)

// directoryKinds are the kinds of findings, in their order.
func directoryKinds() []string {
	return []string{"problem", "ambiguous", "endpoint", "person", "matched", "excluded"}
}

// DirectoryQuery asks for a page of findings.
type DirectoryQuery struct {
	Kind  string // empty: problem
	After string // Next of the page before; empty for the first
	Limit int    // 1 to [api.MaxLimit]
}

func (c *Console) listDirectory(ctx echo.Context) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	limit, err := intQuery(ctx, "limit", api.DefaultLimit, 1, api.MaxLimit)
	if err != nil {
		return err
	}
	kind := ctx.QueryParam("kind")
	if kind == "" {
		kind = directoryKinds()[0]
	}
	if !slices.Contains(directoryKinds(), kind) {
		return Invalid("kind %q is none: use one of %s", kind, strings.Join(directoryKinds(), ", "))
	}
	page, err := c.cfg.Backend.Directory(ctx.Request().Context(), account, DirectoryQuery{Kind: kind, After: ctx.QueryParam("after"), Limit: limit})
	if err != nil {
		return err
	}
	page.Findings = list(page.Findings)
	if page.Counts == nil {
		page.Counts = map[string]int{}
	}
	return ctx.JSON(http.StatusOK, page)
}
