package console

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"presencebridge/bridge/console/client/api"
)

// ndjson is a line of JSON after another (https://github.com/ndjson/ndjson-spec).
const ndjson = "application/x-ndjson"

// replayPolicy streams a replay, a line at a time: it may take minutes and be long. What goes wrong after the first line is
// the last one.
func (c *Console) replayPolicy(ctx echo.Context) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	var req api.ReplayRequest
	if err := decode(ctx, &req); err != nil {
		return err
	}
	if strings.TrimSpace(req.Policy) == "" {
		return invalid("policy: is missing; give the text of a policy")
	}
	out := &lines{ctx: ctx}
	err = c.cfg.Backend.ReplayPolicy(ctx.Request().Context(), account, req, out.write)
	if err == nil || !out.begun {
		return err
	}
	c.log.Warn("replay of a policy broke off", "account", account, "error", err)
	return out.write(api.ReplayItem{Error: explain(err).detail})
}

// lines writes items to an answer as they come.
type lines struct {
	ctx   echo.Context
	begun bool
}

func (l *lines) write(item api.ReplayItem) error {
	res := l.ctx.Response()
	if !l.begun {
		l.begun = true
		res.Header().Set(echo.HeaderContentType, ndjson)
		res.WriteHeader(http.StatusOK)
	}
	rc := http.NewResponseController(res)
	// The listener's limit is for an answer as a whole; here it is for each line. Where it cannot be set there is none.
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	line, err := json.Marshal(item)
	if err != nil {
		return err
	}
	if _, err := res.Write(append(line, '\n')); err != nil {
		return err
	}
	res.Flush()
	return nil
}
