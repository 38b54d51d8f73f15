package sipsim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"presencebridge/bridge/pbx/simkit"
)

// Config says what PBX to simulate. The zero value is ten people on a free loopback port.
type Config struct {
	// Addr to listen on, for UDP and TCP. Default "127.0.0.1:0".
	Addr string
	// Listen opens the listener for TCP; then there is no UDP. Default: both, on one port of this machine.
	Listen func(ctx context.Context, address string) (net.Listener, error)
	// Control is the address of the control API. Default: none.
	Control string
	// Users is how many people to make up when UserList is empty. Default 10.
	Users int
	// UserList are the people. User parts must be unique.
	UserList []User
	// Domain of the people's SIP addresses. Default "pbx.example.com".
	Domain string
	// Username and Password of the bridge. Default "bridge" and a random one ([Sim.Password]).
	Username, Password string
	// Algorithms of digest authentication that are offered. Default SHA-256 and MD5.
	Algorithms []string
	// MinExpires of subscriptions and publications; shorter ones are answered with 423. Default none.
	MinExpires time.Duration
	// MaxExpires of publications; longer ones are cut to it. Default 1 h.
	MaxExpires time.Duration
	// NonceLife is how long a nonce can be used. Default 5 min.
	NonceLife time.Duration
	// NoDialog and NoPresence leave a package out: it is answered with 489.
	NoDialog, NoPresence bool
	// Partial sends partial documents about dialogs after the first.
	Partial bool
	// Seed of everything that is left to chance, except secrets. Default 1.
	Seed uint64
	// Faults to begin with. Default none.
	Faults Faults
	// OnChange is told of every change, in order, from one goroutine of the simulator; it may call the simulator's
	// methods except Close.
	OnChange func(Change)
	// Log of the simulator. Default: nothing.
	Log *slog.Logger
}

// User is somebody with an extension.
type User struct {
	User        string // the user part of the address
	Email       string
	DisplayName string
}

// Presence is what the PBX shows for somebody.
type Presence struct {
	Line string `json:"line"` // idle, ringing, in-call, on-hold or offline
	// Status and Message are the bridge's where its document stands, and the person's own otherwise.
	Status  string `json:"status"`
	Message string `json:"message"`
}

// Change is one change of what the PBX shows.
type Change struct {
	User string
	// Before and After are what shows; of a choice by hand they are the person's own, even beneath the bridge's.
	Before, After Presence
	// By is who did it: "user", "api" for the bridge, or "line" for the phone.
	By string
	At time.Time
}

// Status is a status that can be picked.
type Status struct{ Name, Kind string }

// Statuses are what people pick: activities of RPID (RFC 4480). busy is picked with a note that says do not disturb.
func Statuses() []Status {
	return []Status{
		{"available", "available"}, {"busy", "dnd"}, {"meeting", "busy"}, {"on-the-phone", "busy"}, {"away", "away"},
		{"meal", "away"}, {"vacation", "out"}, {"other", "custom"},
	}
}

// Mistakes of the caller's.
var (
	ErrNoUser   = errors.New("sipsim: there is no such user")
	ErrNoStatus = errors.New("sipsim: there is no such status")
	ErrOffline  = errors.New("sipsim: the phone is unplugged")
	ErrNoCall   = errors.New("sipsim: there is no such call")
	errClosed   = fmt.Errorf("sipsim: %w", simkit.ErrClosed)
)

func (c Config) withDefaults() (Config, error) {
	c.Addr = cmp.Or(c.Addr, "127.0.0.1:0")
	c.Domain = cmp.Or(c.Domain, "pbx.example.com")
	c.Username = cmp.Or(c.Username, "bridge")
	c.Password = cmp.Or(c.Password, random())
	if len(c.Algorithms) == 0 {
		c.Algorithms = []string{"SHA-256", "MD5"}
	}
	c.Users = cmp.Or(c.Users, 10)
	c.Seed = cmp.Or(c.Seed, 1)
	if c.MaxExpires <= 0 {
		c.MaxExpires = time.Hour
	}
	if c.NonceLife <= 0 {
		c.NonceLife = 5 * time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if len(c.UserList) == 0 {
		for i := range c.Users {
			c.UserList = append(c.UserList, User{
				User: fmt.Sprint(1001 + i), Email: fmt.Sprintf("user%d@contoso.example", i+1), DisplayName: fmt.Sprintf("User %d", i+1),
			})
		}
	}
	seen := map[string]bool{}
	for _, u := range c.UserList {
		if u.User == "" || seen[u.User] || strings.ContainsAny(u.User, "@:;<> ") {
			return c, fmt.Errorf("sipsim: UserList: user %q is no user part, or not unique", u.User)
		}
		seen[u.User] = true
	}
	return c, c.Faults.check()
}

func random() string { return simkit.Secret(12) }
