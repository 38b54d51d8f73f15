package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"presencebridge/cmd/internal/cli"
)

// playEnv says what this binary is to be instead of a test: nats, with the server's options in JSON, or bridge.
const playEnv = "PRESENCE_CLUSTER_PLAYS"

func TestMain(m *testing.M) {
	switch os.Getenv(playEnv) {
	case "nats":
		os.Exit(playNATS(os.Args[1]))
	case "bridge":
		os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// node is one NATS server of the cluster.
type node struct {
	Name   string   `json:"name"`
	Dir    string   `json:"dir"`
	Port   int      `json:"port"`   // for clients
	Routes int      `json:"routes"` // for the other servers
	Peers  []string `json:"peers"`
}

func playNATS(args string) int {
	var n node
	if err := json.Unmarshal([]byte(args), &n); err != nil {
		return complain(err)
	}
	opts := &server.Options{
		ServerName: n.Name, Host: "127.0.0.1", Port: n.Port, JetStream: true, StoreDir: n.Dir, NoSigs: true, MaxPayload: 8 << 20,
		// Clients must not learn of other ways in than the ones they were given: a test cuts those.
		Cluster: server.ClusterOpts{Name: "tests", Host: "127.0.0.1", Port: n.Routes, NoAdvertise: true},
	}
	for _, peer := range n.Peers {
		opts.RoutesStr += "," + peer
	}
	if opts.RoutesStr != "" {
		opts.RoutesStr = opts.RoutesStr[1:]
	}
	opts.Routes = server.RoutesFromStr(opts.RoutesStr)
	s, err := server.NewServer(opts)
	if err != nil {
		return complain(err)
	}
	s.Start()
	if !s.ReadyForConnections(2 * time.Minute) {
		return complain(fmt.Errorf("server %s is not ready", n.Name))
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, os.Interrupt)
	<-end
	s.Shutdown()
	s.WaitForShutdown()
	return 0
}

func complain(err error) int {
	_, _ = fmt.Fprintln(os.Stderr, err)
	return 1
}
