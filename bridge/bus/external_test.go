package bus

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lastPort goes through the ports below those that the system gives away by itself. It begins anywhere, so that the tests of
// another package are elsewhere, and no port is given twice.
var lastPort atomic.Uint32

func nextPort() uint32 {
	lastPort.CompareAndSwap(0, 1+mrand.Uint32N(20_000))
	return 10_000 + lastPort.Add(1)%20_000
}

// freePort is one that stays free until it is used.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := int(nextPort())
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		require.NoError(t, l.Close())
		return port
	}
	t.Fatal("no port is free")
	return 0
}

func runServer(t *testing.T, opts *server.Options) *server.Server {
	t.Helper()
	s := startServer(t, opts)
	require.True(t, s.ReadyForConnections(patience))
	return s
}

func startServer(t *testing.T, opts *server.Options) *server.Server {
	t.Helper()
	opts.Host, opts.JetStream, opts.NoSigs = "127.0.0.1", true, true
	if opts.Port == 0 {
		opts.Port = freePort(t) // not one that whoever connects meanwhile may get: some servers come back on theirs
	}
	if opts.StoreDir == "" {
		opts.StoreDir = t.TempDir()
	}
	s, err := server.NewServer(opts)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func externalConfig(t *testing.T, url string) Config {
	cfg := testConfig(t)
	cfg.URL, cfg.DataDir = url, ""
	return cfg
}

func TestExternalServer(t *testing.T) {
	t.Parallel()
	s := runServer(t, &server.Options{MaxPayload: 64 << 10})
	b := openBus(t, externalConfig(t, s.ClientURL()))
	require.False(t, b.CleanStart())
	require.NoError(t, b.Ready())
	require.EqualValues(t, 64<<10-headerRoom, b.MaxBody(), "the server's limit was read")
	require.Equal(t, 1, b.stream(streamGraphIn).CachedInfo().Config.Replicas)

	var items []string
	for i := range 300 {
		items = append(items, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", 1000)))
	}
	body := fmt.Sprintf(`{"value":[%s],"validationTokens":["t"]}`, strings.Join(items, ","))
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte(body), time.Now(), "id"))
	bodies := make(chan *Body, 100)
	stop := consume(t, b, "contoso", nil, func(x *Body) { bodies <- x; assert.NoError(t, x.Ack()) })
	for n := 0; n < len(items); {
		var part struct {
			Value  []struct{ N int }
			Tokens []string `json:"validationTokens"`
		}
		require.NoError(t, json.Unmarshal(receive(t, bodies).Data, &part))
		require.Equal(t, []string{"t"}, part.Tokens)
		for _, item := range part.Value {
			require.Equal(t, n, item.N)
			n++
		}
	}
	stop()

	// Another process, opened beside it, finds everything as it is and takes the account over.
	second := openBus(t, externalConfig(t, s.ClientURL()))
	consume(t, second, "contoso", nil, func(x *Body) { bodies <- x; assert.NoError(t, x.Ack()) })
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte("x"), time.Now(), ""))
	require.Equal(t, "x", string(receive(t, bodies).Data))
	rev, err := b.Bucket(State).Put(t.Context(), "contoso", "member", []byte("v"), 0)
	require.NoError(t, err)
	e, err := second.Bucket(State).Get(t.Context(), "contoso", "member")
	require.NoError(t, err)
	require.Equal(t, rev, e.Revision)
}

// TestThePinIsGivenUp: whoever stops does not let the next one wait until the pin lapses.
func TestThePinIsGivenUp(t *testing.T) {
	t.Parallel()
	s := runServer(t, &server.Options{})
	first, second := openBus(t, externalConfig(t, s.ClientURL())), openBus(t, externalConfig(t, s.ClientURL()))
	bodies := make(chan *Body, 10)
	take := func(x *Body) { bodies <- x; assert.NoError(t, x.Ack()) }
	fastest(t, pinnedTTL/2, func(i int) time.Duration {
		account := fmt.Sprint("contoso-", i)
		stop := consume(t, first, account, nil, take)
		storeAll(t, first, account, 1)
		receive(t, bodies)
		began := time.Now()
		stop()
		consume(t, second, account, nil, take)
		storeAll(t, first, account, 1)
		receive(t, bodies)
		return time.Since(began)
	})
}

func TestExternalServerGoesAndComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := runServer(t, &server.Options{StoreDir: dir})
	port := s.Addr().(*net.TCPAddr).Port
	cfg := externalConfig(t, s.ClientURL())
	cfg.PublishTimeout = 10 * time.Second // what is sent while the server goes or comes is not answered
	b := openBus(t, cfg)
	bodies := make(chan *Body, 100)
	consume(t, b, "contoso", nil, func(x *Body) { bodies <- x; assert.NoError(t, x.Ack()) })
	storeAll(t, b, "contoso", 1)
	receive(t, bodies)
	s.Shutdown()
	s.WaitForShutdown()
	await(t, func() bool { return b.Ready() != nil }, "it knows")
	began := time.Now()
	require.ErrorIs(t, b.StoreNotification(t.Context(), "contoso", []byte("x"), time.Now(), ""), ErrUnavailable)
	require.Less(t, time.Since(began), cfg.PublishTimeout/2, "refused at once, not buffered")
	_, err := b.Bucket(State).Put(t.Context(), "contoso", "member", []byte("v"), 0)
	require.ErrorIs(t, err, ErrUnavailable)

	runServer(t, &server.Options{StoreDir: dir, Port: port})
	await(t, func() bool {
		return b.Ready() == nil && b.StoreNotification(t.Context(), "contoso", []byte("back"), time.Now(), "") == nil
	}, "it stores again")
	require.Equal(t, "back", string(receive(t, bodies).Data))
}

func TestExternalServerIsRefused(t *testing.T) {
	_, err := Open(t.Context(), externalConfig(t, fmt.Sprint("nats://127.0.0.1:", freePort(t))))
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "nats.url")

	s := runServer(t, &server.Options{JetStreamMaxStore: 1 << 20, JetStreamMaxMemory: 64 << 20})
	_, err = Open(t.Context(), externalConfig(t, s.ClientURL()))
	require.ErrorIs(t, err, ErrFull)
	require.ErrorContains(t, err, "nats.max_store", "the remedy")
}

// cluster starts three servers that know each other.
func cluster(t *testing.T) []*server.Server {
	t.Helper()
	var servers []*server.Server
	var routes []*url.URL
	for range 3 {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", freePort(t))})
	}
	for i, route := range routes {
		port, err := strconv.Atoi(route.Port())
		require.NoError(t, err)
		servers = append(servers, startServer(t, &server.Options{
			ServerName: fmt.Sprint("node-", i),
			Cluster:    server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port},
			Routes:     routes,
		}))
	}
	require.Eventually(t, func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == 3 {
				return true
			}
		}
		return false
	}, 2*patience, 50*time.Millisecond)
	return servers
}

func TestClusterOfThree(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("three servers")
	}
	servers := cluster(t)
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.ClientURL())
	}
	b := openBus(t, externalConfig(t, strings.Join(urls, ",")))
	for _, name := range []string{streamGraphIn, streamPresence, streamDecisions, "KV_state", "KV_replicas"} {
		info, err := b.stream(name).Info(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, info.Config.Replicas, name)
	}
	k := b.Bucket(State)
	results := putAll(k, memberKeys(200), func(int) uint64 { return 0 })
	for round := range 5 {
		last := map[string]string{}
		require.NoError(t, k.All(t.Context(), "contoso", func(e Entry) error {
			last[e.Key] = string(e.Value)
			return nil
		}))
		require.Len(t, last, 200, "a full read sees everything that was acknowledged before")
		for key, value := range last {
			if key == "member-0" && round > 0 {
				key = fmt.Sprint(round - 1)
			}
			require.Equal(t, key, value)
		}
		var err error
		results[0].rev, err = k.Put(t.Context(), "contoso", "member-0", fmt.Append(nil, round), results[0].rev)
		require.NoError(t, err)
	}
	require.Positive(t, batches(t, b, k.stream))

	// One server of three goes: everything still works, and nobody gives up replicas.
	servers[0].Shutdown()
	servers[0].WaitForShutdown()
	require.Eventually(t, func() bool {
		return b.StoreNotification(t.Context(), "contoso", []byte("x"), time.Now(), "") == nil
	}, 2*patience, 100*time.Millisecond)
	var again *Bus
	require.Eventually(t, func() bool {
		var err error
		again, err = Open(t.Context(), externalConfig(t, strings.Join(urls[1:], ",")))
		return err == nil
	}, 2*patience, 100*time.Millisecond)
	t.Cleanup(func() { closeBus(t, again) })
	require.Equal(t, 3, again.stream(streamGraphIn).CachedInfo().Config.Replicas)
	bodies := make(chan *Body, 10)
	consume(t, again, "contoso", nil, func(x *Body) { bodies <- x; assert.NoError(t, x.Ack()) })
	require.True(t, bytes.Equal([]byte("x"), receive(t, bodies).Data))
}

// selfSigned makes a server certificate for 127.0.0.1 and returns it with its PEM.
func selfSigned(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestExternalServerWithItsOwnCA(t *testing.T) {
	certificate, ca := selfSigned(t)
	s := runServer(t, &server.Options{TLS: true, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}, TLSTimeout: 5})
	cfg := externalConfig(t, s.ClientURL())
	_, err := Open(t.Context(), cfg)
	require.ErrorIs(t, err, ErrUnavailable, "an unknown authority")
	cfg.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(cfg.CAFile, ca, 0o600))
	require.NoError(t, openBus(t, cfg).Ready())
}

func TestExternalServerWithCredentials(t *testing.T) {
	user, err := nkeys.CreateUser()
	require.NoError(t, err)
	seed, err := user.Seed()
	require.NoError(t, err)
	public, err := user.PublicKey()
	require.NoError(t, err)
	operator, err := nkeys.CreateOperator()
	require.NoError(t, err)
	operatorKey, err := operator.PublicKey()
	require.NoError(t, err)
	account, err := nkeys.CreateAccount()
	require.NoError(t, err)
	accountKey, err := account.PublicKey()
	require.NoError(t, err)

	claims := jwt.NewAccountClaims(accountKey)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
	accountJWT, err := claims.Encode(operator)
	require.NoError(t, err)
	userJWT, err := jwt.NewUserClaims(public).Encode(account)
	require.NoError(t, err)
	system, err := nkeys.CreateAccount()
	require.NoError(t, err)
	systemKey, err := system.PublicKey()
	require.NoError(t, err)
	systemJWT, err := jwt.NewAccountClaims(systemKey).Encode(operator)
	require.NoError(t, err)

	resolver := &server.MemAccResolver{}
	require.NoError(t, resolver.Store(accountKey, accountJWT))
	require.NoError(t, resolver.Store(systemKey, systemJWT))
	s := runServer(t, &server.Options{TrustedKeys: []string{operatorKey}, AccountResolver: resolver, SystemAccount: systemKey})
	cfg := externalConfig(t, s.ClientURL())
	_, err = Open(t.Context(), cfg)
	require.ErrorIs(t, err, ErrUnavailable, "nobody without credentials")
	creds, err := jwt.FormatUserConfig(userJWT, seed)
	require.NoError(t, err)
	cfg.CredentialsFile = filepath.Join(t.TempDir(), "user.creds")
	require.NoError(t, os.WriteFile(cfg.CredentialsFile, creds, 0o600))
	require.NoError(t, openBus(t, cfg).Ready())
}
