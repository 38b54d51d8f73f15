package main

import (
	"log/slog"
	"os"

	"github.com/emiago/sipgo/sip"

	"presencebridge/cmd/internal/cli"
)

func main() {
	// The SIP stack has one logger for everything that is not told another. It writes about its own bookkeeping.
	sip.SetDefaultLogger(slog.New(slog.DiscardHandler))
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
