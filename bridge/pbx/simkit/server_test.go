package simkit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func serve(t *testing.T, cfg ServerConfig) (*Server, *http.Client) {
	t.Helper()
	cfg.Sim, cfg.Log = "sim", slog.New(slog.DiscardHandler)
	cfg.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
	s, err := NewServer(cfg)
	require.NoError(t, err)
	t.Cleanup(s.Down)
	require.NoError(t, s.Up())
	roots := x509.NewCertPool()
	if pem := s.CAPEM(); pem != nil {
		require.True(t, roots.AppendCertsFromPEM(pem))
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return s, &http.Client{Transport: transport}
}

func get(t *testing.T, c *http.Client, url string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	res, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	require.Equal(t, 1, res.ProtoMajor)
	return string(b), err
}

func TestServerVanishesAndComesBack(t *testing.T) {
	for _, secure := range []bool{false, true} {
		cuts, stop := 0, make(chan struct{})
		s, c := serve(t, ServerConfig{Addr: "127.0.0.1:0", TLS: secure, Cut: func() { cuts++ }, Stop: stop})
		url := s.URL()
		require.Equal(t, secure, strings.HasPrefix(url, "https://127.0.0.1:"))
		body, err := get(t, c, url)
		require.NoError(t, err)
		require.Equal(t, "here", body)
		s.Down()
		s.Down()
		require.Equal(t, 1, cuts)
		_, err = get(t, c, url)
		require.Error(t, err)
		require.NoError(t, s.Up())
		require.NoError(t, s.Up())
		require.NoError(t, s.Restart(func() {
			_, err = get(t, c, url)
			require.Error(t, err, "it is away meanwhile")
		}))
		require.Equal(t, url, s.URL())
		_, err = get(t, c, url)
		require.NoError(t, err)
		require.ErrorIs(t, s.Restart(func() { close(stop) }), ErrClosed)
		require.ErrorIs(t, s.Up(), ErrClosed)
	}
}

func TestReachable(t *testing.T) {
	for addr, want := range map[string]string{
		":80": "127.0.0.1:80", "0.0.0.0:80": "127.0.0.1:80", "[::]:80": "127.0.0.1:80", "[::1]:80": "[::1]:80", "pbx.example.com:80": "pbx.example.com:80",
	} {
		require.Equal(t, want, reachable(addr))
	}
}

func TestListenWaitsForTheAddress(t *testing.T) {
	tries := 0
	l, err := Listen(func(ctx context.Context, _ string) (net.Listener, error) {
		if tries++; tries < 3 {
			return nil, syscall.EADDRINUSE
		}
		return (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	}, "anywhere")
	require.NoError(t, err)
	require.Equal(t, 3, tries)
	require.NoError(t, l.Close())
	_, err = Listen(nil, "nowhere")
	require.Error(t, err)
}

func TestWait(t *testing.T) {
	stop := make(chan struct{})
	require.True(t, Wait(t.Context(), stop, time.Millisecond))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.True(t, Wait(ended, stop, time.Hour))
	close(stop)
	require.False(t, Wait(t.Context(), stop, time.Hour))
	require.True(t, Wait(t.Context(), stop, 0))
}
