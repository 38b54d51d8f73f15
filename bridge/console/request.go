package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"presencebridge/bridge/console/client/api"
)

// maxRequest bounds a request's body, in bytes.
const maxRequest = 64 << 10

// param is a path parameter, decoded: Echo routes by the raw path if that differs from the decoded one,
// and leaves parameters then as they are. An empty segment is no parameter, though Echo takes it for one.
func param(ctx echo.Context, name string) (value string, err error) {
	value = ctx.Param(name)
	if ctx.Request().URL.RawPath != "" {
		if value, err = url.PathUnescape(value); err != nil {
			return "", invalid(fmt.Sprintf("%s: cannot be decoded: escape it for a URL path", name))
		}
	}
	if value == "" {
		return "", echo.ErrNotFound
	}
	return value, nil
}

// intQuery is a query parameter within bounds.
func intQuery(ctx echo.Context, name string, fallback, least, most int) (int, error) {
	text := ctx.QueryParam(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, invalid(fmt.Sprintf("%s: want a number from %d to %d", name, least, most))
	}
	return n, nil
}

// waitQuery is the parameter wait: how many seconds the answer may take while there is no news.
func waitQuery(ctx echo.Context) (time.Duration, error) {
	n, err := intQuery(ctx, "wait", 0, 0, int(api.MaxWait/time.Second))
	return time.Duration(n) * time.Second, err
}

// decode reads a JSON body into v. No body at all leaves v as it is. Unknown members are errors, so that
// a misspelt one does not widen what is asked for.
func decode(ctx echo.Context, v any) error {
	body, err := io.ReadAll(io.LimitReader(ctx.Request().Body, maxRequest+1))
	switch {
	case err != nil:
		return invalid("the body could not be read")
	case len(body) > maxRequest:
		return &problem{status: http.StatusRequestEntityTooLarge, detail: fmt.Sprintf("the body is longer than %d bytes", maxRequest)}
	case len(bytes.TrimSpace(body)) == 0:
		return nil
	}
	if kind, _, err := mime.ParseMediaType(ctx.Request().Header.Get(echo.HeaderContentType)); err != nil || kind != echo.MIMEApplicationJSON {
		return &problem{status: http.StatusUnsupportedMediaType, detail: "want a body with Content-Type: application/json, or none"}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return invalid("the body is not what the API describes: " + jsonError(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return invalid("the body holds more than one JSON document")
	}
	return nil
}

// jsonError is a decoding error without the package's prefixes.
func jsonError(err error) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		if kind.Field == "" {
			return "want an object"
		}
		return fmt.Sprintf("%s: want a %s", kind.Field, kind.Type)
	}
	return err.Error()
}
