package threecxsim

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
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
	// UserList are the people. Ids and numbers must be unique.
	UserList []User
	// Domain of the made-up people's e-mail addresses. Default "contoso.example".
	Domain string
	// ClientID and ClientSecret of the bridge. Default "bridge" and a random one ([Sim.ClientSecret]).
	ClientID, ClientSecret string
	// Version that the PBX says it is. Default "20.0.9.100".
	Version string
	// TokenLife is how long a token is valid. Default 1 h.
	TokenLife time.Duration
	// PageLimit is the most users on one page; a larger $top is cut to it. Default 100.
	PageLimit int
	// CustomNames rename profiles, for everybody: wire name to what people see.
	CustomNames map[string]string
	// Limits to begin with. Default none.
	Limits Limits
	// Faults to begin with. Default none.
	Faults Faults
	// Seed of everything that is left to chance, except secrets and tokens. Default 1.
	Seed uint64
	// OnChange is told of every change, in order, from one goroutine of the simulator; it may call the simulator's
	// methods except Close.
	OnChange func(Change)
	// Log of the simulator. Default: nothing.
	Log *slog.Logger
}

// User is somebody with an extension.
type User struct {
	ID          int
	Number      string
	Email       string
	DisplayName string
}

// Limits are what licence, rights and settings keep from the client.
type Limits struct {
	// NoEnterprise: the licence does not include the APIs; the token's role says so.
	NoEnterprise bool `json:"no_enterprise"`
	// NoCallControl: the client has no Call Control API access.
	NoCallControl bool `json:"no_call_control"`
	// NoXAPI: the client has no Configuration API access.
	NoXAPI bool `json:"no_xapi"`
	// ReadOnly: the client's role may not change presence.
	ReadOnly bool `json:"read_only"`
	// ForeignIP: the console's restrictions keep the client's address out.
	ForeignIP bool `json:"foreign_ip"`
	// Monitored are the numbers that Call Control tells the client of. Empty: all.
	Monitored []string `json:"monitored"`
	// TeamsSync: the PBX's own synchronisation with Teams is on.
	TeamsSync bool `json:"teams_sync"`
}

// Change is one change of what the PBX shows.
type Change struct {
	User          string
	Before, After Presence
	// By is who did it: "user", "api", or "line" for the phone.
	By string
	At time.Time
}

// Presence is what the PBX shows for a user.
type Presence struct {
	Line    string `json:"line"`   // idle, ringing, in-call or offline
	Status  string `json:"status"` // the profile, by its wire name
	Message string `json:"message"`
}

// Profiles are the wire names of the profiles that every user has. People see the third one as Do Not Disturb.
func Profiles() []string {
	return []string{"Available", "Away", "Out of office", "Custom 1", "Custom 2"}
}

func (c Config) withDefaults() (Config, error) {
	c.Addr = cmp.Or(c.Addr, "127.0.0.1:0")
	c.Domain = cmp.Or(c.Domain, "contoso.example")
	c.ClientID = cmp.Or(c.ClientID, "bridge")
	c.ClientSecret = cmp.Or(c.ClientSecret, simkit.Secret(16))
	c.Version = cmp.Or(c.Version, "20.0.9.100")
	c.Users = cmp.Or(c.Users, 10)
	c.Seed = cmp.Or(c.Seed, 1)
	if c.TokenLife <= 0 {
		c.TokenLife = time.Hour
	}
	if c.PageLimit <= 0 {
		c.PageLimit = 100
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if len(c.UserList) == 0 {
		for i := range c.Users {
			c.UserList = append(c.UserList, User{
				ID: 11 + i, Number: strconv.Itoa(101 + i), Email: fmt.Sprintf("user%d@%s", i+1, c.Domain), DisplayName: fmt.Sprintf("User %d", i+1),
			})
		}
	}
	seen := map[string]bool{}
	for _, u := range c.UserList {
		id, number := "id "+strconv.Itoa(u.ID), "number "+u.Number
		if u.ID <= 0 || u.Number == "" || seen[id] || seen[number] {
			return c, fmt.Errorf("threecxsim: UserList: user %d, number %q: id or number is missing or not unique", u.ID, u.Number)
		}
		seen[id], seen[number] = true, true
	}
	return c, c.Faults.check()
}
