package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// A browser signs in with the admin token, once, and then has a cookie that is good for sessionLife. It holds no
// secret of the bridge's: when it ends, and a mark that only who knows the token can make, so that every replica accepts it and
// a new token ends it. It opens the pages alone, which change nothing; the API takes the token and no cookie.
const (
	sessionCookie = "presence-bridge-session"
	sessionLife   = 8 * time.Hour
	maxForm       = 8 << 10 // bytes of a sign-in
)

// mark proves that whoever set an end knew the token.
func (h tokenHash) mark(end string) string {
	m := hmac.New(sha256.New, h[:])
	_, _ = io.WriteString(m, "console session until "+end) // never fails
	return hex.EncodeToString(m.Sum(nil))
}

// signedIn tells whether a request comes from a browser that signed in, or has the token itself.
func (c *Console) signedIn(r *http.Request) bool {
	given := hashToken(bearer(r.Header.Get(echo.HeaderAuthorization)))
	if subtle.ConstantTimeCompare(given[:], c.token[:]) == 1 {
		return true
	}
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return false
	}
	end, mark, _ := strings.Cut(cookie.Value, ".")
	seconds, err := strconv.ParseInt(end, 10, 64)
	return err == nil && hmac.Equal([]byte(mark), []byte(c.token.mark(end))) && time.Now().Before(time.Unix(seconds, 0))
}

// private lets nobody see a page who has not signed in: they are asked to, and then get what they wanted.
func (c *Console) private(next echo.HandlerFunc) echo.HandlerFunc {
	return func(ctx echo.Context) error {
		if c.signedIn(ctx.Request()) {
			return next(ctx)
		}
		return ctx.Redirect(http.StatusSeeOther, "/login?"+url.Values{"next": {ctx.Request().URL.RequestURI()}}.Encode())
	}
}

func (c *Console) showLogin(ctx echo.Context) error {
	return c.page(ctx, http.StatusOK, "login.html", loginPage{Next: ctx.QueryParam("next")})
}

// login takes the token of a form.
func (c *Console) login(ctx echo.Context) error {
	r := ctx.Request()
	r.Body = http.MaxBytesReader(ctx.Response(), r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		status := http.StatusBadRequest
		var long *http.MaxBytesError
		if errors.As(err, &long) {
			status = http.StatusRequestEntityTooLarge
		}
		return c.page(ctx, status, "login.html", loginPage{Problem: "The form could not be read: fill it in again."})
	}
	given := hashToken(strings.TrimSpace(r.PostFormValue("token")))
	if subtle.ConstantTimeCompare(given[:], c.token[:]) != 1 {
		c.metrics.refused.Inc()
		return c.page(ctx, http.StatusForbidden, "login.html", loginPage{Next: r.PostFormValue("next"),
			Problem: fmt.Sprintf("That is not the token of this bridge. It is the content of the file %s in data_dir, or of admin.token_file.", TokenFile)})
	}
	end := strconv.FormatInt(time.Now().Add(sessionLife).Unix(), 10)
	c.setSession(ctx, end+"."+c.token.mark(end), int(sessionLife/time.Second))
	return ctx.Redirect(http.StatusSeeOther, ownPage(r.PostFormValue("next")))
}

func (c *Console) logout(ctx echo.Context) error {
	c.setSession(ctx, "", -1)
	return ctx.Redirect(http.StatusSeeOther, "/login")
}

func (c *Console) setSession(ctx echo.Context, value string, maxAge int) {
	r := ctx.Request()
	secure := r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
	http.SetCookie(ctx.Response(), &http.Cookie{ //nolint:gosec // G124: the listener may be plain HTTP on loopback, where a Secure cookie would never come back
		Name: sessionCookie, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode,
	})
}

// ownPage is where a sign-in leads to: a page of the console's, whatever the form says.
func ownPage(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || u.Opaque != "" || u.Path != "/explain" {
		return "/"
	}
	return (&url.URL{Path: u.Path, RawQuery: u.Query().Encode()}).String()
}
