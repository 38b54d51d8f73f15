package scenario

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/micollab"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/bridge/pbx/threecx"
	"presencebridge/bridge/pbx/threecxsim"
)

// exchange is a simulated PBX of whatever type.
type exchange interface {
	Ring(user string) error
	StopRinging(user string) error
	StartCall(user string) error
	Hold(user string) error
	Resume(user string) error
	EndCall(user string) error
	GoOffline(user string) error
	GoOnline(user string) error
	Pick(user, status string) error
	Chosen(user string) (string, error)
	Down()
	Up() error
	Close() error

	// Status is what a phone shows.
	Status(user string) (string, error)
	// WriteAs has another program set a status.
	WriteAs(program, user, status string) error
	// connect makes the real connector.
	connect(name string, client *http.Client) (connector, error)
}

// connector is a real one.
type connector interface {
	pbx.Connector
	Close()
}

type micollabExchange struct{ *pbxsim.Sim }

// Status implements exchange.
func (e micollabExchange) Status(user string) (string, error) {
	p, err := e.Presence(user)
	return p.Status, err
}

func (e micollabExchange) connect(name string, client *http.Client) (connector, error) {
	return micollab.New(micollab.Config{
		Account: "contoso", Name: name, URL: e.URL(), HTTPClient: client, Token: func() (string, error) { return e.Token(), nil },
	})
}

type threecxExchange struct{ *threecxsim.Sim }

// Status implements exchange.
func (e threecxExchange) Status(user string) (string, error) {
	p, err := e.Presence(user)
	return p.Status, err
}

// WriteAs implements exchange: a 3CX does not tell who changed a profile.
func (e threecxExchange) WriteAs(string, string, string) error {
	return errors.New("on a 3cx another program is nobody else: exclude 3cx")
}

func (e threecxExchange) connect(name string, client *http.Client) (connector, error) {
	return threecx.New(threecx.Config{
		Account: "contoso", Name: name, URL: e.URL(), HTTPClient: client, ClientID: e.ClientID(),
		Secret: func() (string, error) { return e.ClientSecret(), nil },
	})
}

// extension is somebody on a PBX.
type extension struct{ number, mail, name string }

// build starts a PBX of the kind that the story is played on.
func (w *world) build(name string, people []extension) exchange {
	addr := name + ".invalid:80"
	if w.kind == "3cx" {
		var users []threecxsim.User
		for _, p := range people {
			id, err := strconv.Atoi(p.number)
			require.NoError(w.t, err)
			users = append(users, threecxsim.User{ID: id, Number: p.number, Email: p.mail, DisplayName: p.name})
		}
		sim, err := threecxsim.Start(threecxsim.Config{
			UserList: users, Addr: addr, Listen: w.net.listen,
			OnChange: func(c threecxsim.Change) {
				w.phoneChanged(name, c.User, c.By, c.After.Line, c.Before.Status, c.After.Status)
			},
		})
		require.NoError(w.t, err)
		return threecxExchange{sim}
	}
	var users []pbxsim.User
	for _, p := range people {
		users = append(users, pbxsim.User{ID: p.number, Email: p.mail, Extension: p.number, DisplayName: p.name})
	}
	sim, err := pbxsim.Start(pbxsim.Config{
		Addr: addr, Listen: w.net.listen, UserList: users, CountLineInVersion: w.kind == "lines",
		OnChange: func(c pbxsim.Change) {
			w.phoneChanged(name, c.User, c.By, c.After.Line, c.Before.Status, c.After.Status)
		},
	})
	require.NoError(w.t, err)
	return micollabExchange{sim}
}

// status is a status of the story in the PBX's own words, as the presets have them.
func (w *world) status(words string) string {
	if w.kind == "3cx" {
		switch words {
		case "In a call":
			return "Away"
		case "Do not disturb":
			return "Out of office"
		}
	}
	return words
}
