package console

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"presencebridge/bridge/console/client/api"
)

// problem is an error with its answer.
type problem struct {
	kind   string // a URN, or "" for about:blank
	status int
	detail string
	job    string

	candidates []string
}

func (p *problem) Error() string { return p.detail }

// invalid is a 400 about what the caller sent.
func invalid(detail string) error { return &problem{status: http.StatusBadRequest, detail: detail} }

// fail answers an error. What was not meant for the caller is logged under the request's id, which is
// all that the caller gets.
func (c *Console) fail(err error, ctx echo.Context) {
	if ctx.Response().Committed {
		return
	}
	id := rand.Text()
	p := explain(err)
	if p.status >= http.StatusInternalServerError && ctx.Request().Context().Err() == nil {
		c.log.Error("admin request failed", "request_id", id, "method", ctx.Request().Method, "route", ctx.Path(), "status", p.status, "error", err)
	}
	doc := api.Problem{Type: p.kind, Title: http.StatusText(p.status), Status: p.status, Detail: p.detail, Job: p.job, Candidates: p.candidates, RequestID: id}
	if doc.Type == "" {
		doc.Type = "about:blank" // RFC 9457 section 4.2.1: the title is the status's
	}
	body, err := json.Marshal(doc)
	if err != nil {
		body = nil
	}
	if err := ctx.Blob(p.status, "application/problem+json", body); err != nil {
		c.log.Debug("problem not answered", "request_id", id, "error", err)
	}
}

func explain(err error) *problem {
	var p *problem
	var backend *Error
	var httpError *echo.HTTPError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &backend):
		return &problem{status: backend.status, detail: backend.Detail, candidates: backend.Candidates}
	case errors.As(err, &httpError):
		return &problem{status: httpError.Code, detail: routeDetail(httpError.Code)}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &problem{status: http.StatusServiceUnavailable, detail: "the bridge could not answer in time; try again"}
	default:
		return &problem{status: http.StatusInternalServerError, detail: "something went wrong in the bridge; its log has more under this request_id"}
	}
}

func routeDetail(status int) string {
	switch status {
	case http.StatusNotFound:
		return "there is nothing at this address; /api/v1/openapi.json says what there is"
	case http.StatusMethodNotAllowed:
		return "this address does not take this method; the header Allow says which ones"
	default:
		return ""
	}
}
