package pbxsim

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"presencebridge/bridge/pbx/simkit"
)

// Config says what PBX to simulate. The zero value is ten people on a free loopback port.
type Config struct {
	// Addr to listen on. Default "127.0.0.1:0".
	Addr string
	// Listen makes the listener, again after each [Sim.Down], for a network in memory. Default: TCP.
	Listen func(ctx context.Context, addr string) (net.Listener, error)
	// TLS serves HTTPS with a certificate of the simulator's own CA ([Sim.CAPEM]). Default plain HTTP.
	TLS bool
	// Users is how many people to make up when UserList is empty. Default 10.
	Users int
	// UserList are the people. Ids must be unique and not empty.
	UserList []User
	// Domain of the made-up people's e-mail addresses. Default "contoso.example".
	Domain string
	// Statuses that people can pick; the first is what everybody begins with. Default [DefaultStatuses].
	Statuses []Status
	// Token is the bearer token of the bridge. Default: a random one ([Sim.Token]).
	Token string
	// ClientName is the client that Token belongs to: changed_by says "api:<ClientName>". Default "bridge".
	ClientName string
	// Clients are further clients, by token: other programs that write.
	Clients map[string]string
	// Seed of everything that is left to chance, except tokens and epochs. Default 1.
	Seed uint64
	// Clock stamps changed_at. Default time.Now. Waiting is always done in real time.
	Clock func() time.Time
	// CountLineInVersion lets the line count too: a PUT may meet a 412 because a call began.
	CountLineInVersion bool
	// PageLimit is the most users on one page; a larger `limit` is cut to it. Default 200.
	PageLimit int
	// EventBuffer is how many events can be resumed from. Default 8192.
	EventBuffer int
	// Heartbeat is how often an event stream says that it is alive. Default 15 s.
	Heartbeat time.Duration
	// Faults to begin with. Default none.
	Faults Faults
	// OnChange is told of every change, in order, from one goroutine of the simulator; it may call the
	// simulator's methods except Close.
	OnChange func(Change)
	// Log of the simulator. Default: nothing.
	Log *slog.Logger
}

// Change is one change of what the PBX shows.
type Change struct {
	User          string
	Before, After Presence
	// By is who did it: "user", "api:<client>", or "line" for the phone.
	By string
	At time.Time // real time
}

// DefaultStatuses is what a site might have configured.
func DefaultStatuses() []Status {
	return []Status{
		{"Available", "available"},
		{"Busy", "busy"},
		{"In a call", "busy"},
		{"In a meeting", "busy"},
		{"Do not disturb", "dnd"},
		{"Away", "away"},
		{"Gone for lunch", "away"},
		{"Out of office", "out"},
		{"Working from home", "custom"},
	}
}

func (c Config) withDefaults() (Config, error) {
	c.Addr = cmp.Or(c.Addr, "127.0.0.1:0")
	c.Domain = cmp.Or(c.Domain, "contoso.example")
	c.ClientName = cmp.Or(c.ClientName, "bridge")
	c.Token = cmp.Or(c.Token, simkit.Secret(16))
	c.Users = cmp.Or(c.Users, 10)
	c.Seed = cmp.Or(c.Seed, 1)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.PageLimit <= 0 {
		c.PageLimit = 200
	}
	if c.EventBuffer <= 0 {
		c.EventBuffer = 8192
	}
	if c.Heartbeat <= 0 {
		c.Heartbeat = 15 * time.Second
	}
	if len(c.Statuses) == 0 {
		c.Statuses = DefaultStatuses()
	}
	if len(c.UserList) == 0 {
		c.UserList = makeUsers(c.Users, c.Domain)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, c.check()
}

func (c Config) check() error {
	seen := make(map[string]bool, len(c.UserList))
	for _, u := range c.UserList {
		if u.ID == "" || seen[u.ID] {
			return fmt.Errorf("pbxsim: UserList: id %q is empty or not unique", u.ID)
		}
		seen[u.ID] = true
	}
	kinds := []string{"available", "busy", "dnd", "away", "out", "custom"}
	names := map[string]bool{}
	for _, s := range c.Statuses {
		if n := strings.ToLower(s.Name); n == "" || names[n] {
			return fmt.Errorf("pbxsim: Statuses: name %q is empty or not unique", s.Name)
		}
		names[strings.ToLower(s.Name)] = true
		if !slices.Contains(kinds, s.Kind) {
			return fmt.Errorf("pbxsim: Statuses: %q has kind %q, want one of %s", s.Name, s.Kind, strings.Join(kinds, ", "))
		}
	}
	return c.Faults.check()
}

// makeUsers invents n people with extensions from 1001 on.
func makeUsers(n int, domain string) []User {
	users := make([]User, n)
	for i := range users {
		ext := fmt.Sprint(1001 + i)
		users[i] = User{
			ID:          fmt.Sprintf("u%06d", i+1),
			Email:       fmt.Sprintf("user%d@%s", i+1, domain),
			Extension:   ext,
			DisplayName: fmt.Sprintf("User %d", i+1),
		}
	}
	return users
}
