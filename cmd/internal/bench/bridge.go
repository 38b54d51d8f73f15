package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"presencebridge/bridge"
	"presencebridge/bridge/console/client"
	"presencebridge/cmd/internal/app"
	"presencebridge/cmd/internal/config"
)

// bridgeArgs are the site that the bridge is to serve.
type bridgeArgs struct {
	Dir    string
	Site   siteArgs
	Tenant tenantHello
	Phones pbxHello
	Sync   time.Duration // 0: always
}

// bridgeHello says where the bridge's admin API is.
type bridgeHello struct{ Admin, Token string }

func (h bridgeHello) client() (*client.Client, error) {
	return client.New("http://"+h.Admin, h.Token)
}

// awaitReady waits until the members are known.
func (h bridgeHello) awaitReady(ctx context.Context) error {
	c := &http.Client{Timeout: 5 * time.Second}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.Admin+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		if err := rest(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("/readyz says %s: %w", resp.Status, err)
		}
	}
}

// playBridge is the real bridge with all its roles, as `serve` runs it.
func playBridge(ctx context.Context, raw json.RawMessage) (*played, error) {
	var args bridgeArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return nil, err
	}
	hook, err := loopback(ctx)
	if err != nil {
		return nil, err
	}
	admin, err := loopback(ctx)
	if err != nil {
		return nil, errors.Join(err, hook.Close())
	}
	text, err := args.yaml(hook.Addr().String(), admin.Addr().String())
	if err != nil {
		return nil, err
	}
	cfg, err := config.Parse("bench.yaml", []byte(text), config.Options{Files: true})
	if err != nil {
		return nil, err
	}
	logFile, err := os.Create(filepath.Join(args.Dir, "bridge.log"))
	if err != nil {
		return nil, err
	}
	var latencies samples
	a, err := app.Start(ctx, app.Options{
		Config: cfg, WebhookListener: hook, AdminListener: admin, Version: "bench", Log: slog.New(slog.NewTextHandler(logFile, nil)),
		OnLatency: func(_, side string, path bridge.Path, d time.Duration) { latencies.add(side+" "+string(path), d) },
	})
	if err != nil {
		return nil, errors.Join(err, logFile.Close())
	}
	return &played{
		hello: bridgeHello{Admin: a.AdminAddr(), Token: a.AdminToken()},
		orders: map[string]func(json.RawMessage) (any, error){
			"latencies": func(json.RawMessage) (any, error) { return latencies.take(), nil },
			"stores": func(json.RawMessage) (any, error) {
				return counted(a.Registry(), "presence_bridge_record_store_seconds", "")
			},
			"trim": func(json.RawMessage) (any, error) { freeMemory(); return nil, nil },
		},
		stop: func() error {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			return errors.Join(a.Stop(end), logFile.Close())
		},
	}, nil
}

// counted is a counter, or the number of observations of a histogram, summed over the series that have the label
// value, "" for all.
func counted(from prometheus.Gatherer, name, label string) (float64, error) {
	families, err := from.Gather()
	if err != nil {
		return 0, err
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		sum := 0.0
		for _, m := range f.GetMetric() {
			has := label == ""
			for _, l := range m.GetLabel() {
				has = has || l.GetValue() == label
			}
			if has {
				sum += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		return sum, nil
	}
	return 0, fmt.Errorf("there is no metric %s", name)
}
