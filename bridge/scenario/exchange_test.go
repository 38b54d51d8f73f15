package scenario

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/micollab"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/bridge/pbx/sip"
	"presencebridge/bridge/pbx/sipsim"
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
	PickMessage(user, status, message string) error
	Chosen(user string) (string, error)
	Down()
	Up() error
	Close() error

	// Status is what a phone shows.
	Status(user string) (string, error)
	// Message is the message that a phone shows.
	Message(user string) (string, error)
	// WriteAs has another program set a status.
	WriteAs(program, user, status string) error
	// restart lets the PBX begin anew: all connections break, all subscriptions end.
	restart() error
	// connect makes the real connector, on its way through the network.
	connect(name string, net *network) (connector, error)
}

// connector is a real one.
type connector interface {
	pbx.Connector
	Close()
}

type micollabExchange struct{ *pbxsim.Sim }

// Message implements exchange.
func (e micollabExchange) Message(user string) (string, error) {
	p, err := e.Presence(user)
	return p.Message, err
}

// Status implements exchange.
func (e micollabExchange) Status(user string) (string, error) {
	p, err := e.Presence(user)
	return p.Status, err
}

func (e micollabExchange) connect(name string, net *network) (connector, error) {
	return micollab.New(micollab.Config{
		Account: "contoso", Name: name, URL: e.URL(), HTTPClient: net.client(), Token: func() (string, error) { return e.Token(), nil },
	})
}

type threecxExchange struct{ *threecxsim.Sim }

// Message implements exchange.
func (e threecxExchange) Message(user string) (string, error) {
	p, err := e.Presence(user)
	return p.Message, err
}

// Status implements exchange.
func (e threecxExchange) Status(user string) (string, error) {
	p, err := e.Presence(user)
	return p.Status, err
}

// WriteAs implements exchange: a 3CX does not tell who changed a profile, so it looks as if the person had.
func (e threecxExchange) WriteAs(_, user, status string) error { return e.Pick(user, status) }

func (e threecxExchange) connect(name string, net *network) (connector, error) {
	return threecx.New(threecx.Config{
		Account: "contoso", Name: name, URL: e.URL(), HTTPClient: net.client(), ClientID: e.ClientID(),
		Secret: func() (string, error) { return e.ClientSecret(), nil },
	})
}

func (e micollabExchange) restart() error {
	return e.Restart(context.Background(), pbxsim.RestartOptions{Down: 5 * time.Second})
}

func (e threecxExchange) restart() error {
	return e.Restart(context.Background(), threecxsim.RestartOptions{Down: 5 * time.Second})
}

// sipExchange is a SIP PBX: what the bridge sets there is a document of its own beside the person's.
type sipExchange struct {
	*sipsim.Sim
	users string // the users file
}

// Message implements exchange.
func (e sipExchange) Message(user string) (string, error) {
	p, err := e.Presence(user)
	return p.Message, err
}

// Status implements exchange.
func (e sipExchange) Status(user string) (string, error) {
	p, err := e.Presence(user)
	return p.Status, err
}

// WriteAs implements exchange: nobody else than the person can change what the person shows.
func (e sipExchange) WriteAs(string, string, string) error {
	return errors.New("on a sip PBX everybody has a document of their own: exclude sip")
}

func (e sipExchange) restart() error {
	return e.Restart(context.Background(), sipsim.RestartOptions{Down: 5 * time.Second})
}

func (e sipExchange) connect(name string, net *network) (connector, error) {
	return sip.New(sip.Config{
		Account: "contoso", Name: name, URL: e.URL(), Username: e.Username(), Password: func() (string, error) { return e.Password(), nil },
		Domain: e.Domain(), UsersFile: e.users, Dial: net.dialTCP,
	})
}

// extension is somebody on a PBX.
type extension struct{ number, mail, name string }

// build starts a PBX of the kind that the story is played on.
func (w *world) build(name string, people []extension) exchange {
	addr := name + ".invalid:80"
	if w.kind == "sip" {
		return w.buildSIP(name, people)
	}
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

// buildSIP starts a SIP PBX.
func (w *world) buildSIP(name string, people []extension) exchange {
	var users []sipsim.User
	for _, p := range people {
		users = append(users, sipsim.User{User: p.number, Email: p.mail, DisplayName: p.name})
	}
	var sim *sipsim.Sim
	made := make(chan struct{})
	sim, err := sipsim.Start(sipsim.Config{
		UserList: users, Addr: "192.0.2." + strconv.Itoa(1+len(w.pbxs)) + ":5060", Listen: w.net.listen,
		OnChange: func(c sipsim.Change) {
			<-made
			// Of a choice by hand the change tells the person's own side; what colleagues see is asked for.
			shows, err := sim.Presence(c.User)
			if err != nil {
				return // has just left
			}
			w.phoneChanged(name, c.User, c.By, c.After.Line, "", shows.Status)
		},
	})
	close(made)
	require.NoError(w.t, err)
	file := filepath.Join(w.t.TempDir(), "users.csv")
	require.NoError(w.t, os.WriteFile(file, []byte(sim.UsersFile()), 0o600))
	return sipExchange{sim, file}
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
	if name, ok := inSIP()[words]; ok && w.kind == "sip" {
		return name
	}
	return words
}

// inSIP are the statuses of a SIP PBX: activities of RPID (RFC 4480). busy, with a note, stands for Do not disturb.
func inSIP() map[string]string {
	return map[string]string{
		"Available": "available", "In a call": "on-the-phone", "Do not disturb": "busy", "In a meeting": "meeting", "Away": "away",
		"Gone for lunch": "meal", "On vacation": "vacation",
	}
}
