package console

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/labstack/echo/v4"
)

// TokenFile is the name of the token's file in data_dir.
const TokenFile = "admin-token"

const (
	tokenBytes   = 32
	minToken     = 16
	maxTokenFile = 4096
)

// LoadOrCreateToken reads the admin token from its file in dir. On the first start, when there is no such
// file, it makes one with a random token, readable for its owner alone. An administrator
// may write a token of their own there: one line of at least 16 visible characters.
func LoadOrCreateToken(dir string) (string, error) {
	file := filepath.Join(dir, TokenFile)
	token, err := LoadToken(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createToken(dir, file); err != nil {
			return "", fmt.Errorf("console: cannot create the admin token %s: %w (make data_dir exist and writable for the bridge)", file, err)
		}
		token, err = LoadToken(file)
	}
	return token, err
}

// LoadToken reads an admin token from a file that only its owner may read.
func LoadToken(file string) (string, error) {
	// Without O_NONBLOCK a named pipe would hold the caller up for ever.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("admin token %s: is not a regular file (remove it; the bridge makes a new one)", file)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return "", fmt.Errorf("admin token %s: has mode %04o, so that others can use it (remove it, and the bridge makes a new one; or chmod 600 %s)", file, perm, file)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if len(token) < minToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", fmt.Errorf("admin token %s: want one line of at least %d visible ASCII characters (remove it, and the bridge makes a new one)", file, minToken)
	}
	return token, nil
}

// createToken writes a new token beside file and links it into place, so that file is never there in part,
// and one that has appeared meanwhile counts.
func createToken(dir, file string) error {
	var raw [tokenBytes]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "."+TokenFile+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(base64.RawURLEncoding.EncodeToString(raw[:]) + "\n")
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// tokenHash is what is compared: hashes have one length, so that the comparison tells nothing.
type tokenHash [sha256.Size]byte

func hashToken(s string) tokenHash { return sha256.Sum256([]byte(s)) }

// guard lets nobody into /api without the token, whether or not what is asked for exists.
func (c *Console) guard(next echo.HandlerFunc) echo.HandlerFunc {
	return func(ctx echo.Context) error {
		if !underAPI(ctx.Path()) && !underAPI(ctx.Request().URL.Path) {
			return next(ctx)
		}
		ctx.Response().Header().Set(echo.HeaderCacheControl, "no-store")
		given := hashToken(bearer(ctx.Request().Header.Get(echo.HeaderAuthorization)))
		if subtle.ConstantTimeCompare(given[:], c.token[:]) != 1 {
			c.metrics.refused.Inc()
			ctx.Response().Header().Set(echo.HeaderWWWAuthenticate, `Bearer realm="presence-bridge"`) // RFC 6750 section 3
			return &problem{status: http.StatusUnauthorized, detail: "the request needs the header Authorization: Bearer, with the content of " + TokenFile + " in data_dir"}
		}
		return next(ctx)
	}
}

func underAPI(path string) bool { return path == "/api" || strings.HasPrefix(path, "/api/") }

// bearer returns the token of an Authorization header, or "". The scheme's casing is free (RFC 9110
// section 11.1).
func bearer(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
