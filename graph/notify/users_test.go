package notify

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestUserInPath(t *testing.T) {
	for path, want := range map[string]string{
		"users/" + alice + "/presence":                                     alice,
		"/users/" + alice + "/presence":                                    alice,
		"Users/" + strings.ToUpper(alice) + "/Presence":                    alice,
		"users('" + alice + "')/presence":                                  alice,
		"communications/presences/" + alice:                                alice,
		"communications/presences/" + alice + "?$select=id":                alice,
		"communications/presences('" + alice + "')":                        alice,
		"communications/presences(%27" + alice + "%27)":                    alice,
		"https://graph.microsoft.com/v1.0/users/" + alice + "/presence":    alice,
		"https://graph.microsoft.com/beta/communications/presences('X-1')": "X-1",
		"":                                  "",
		"users":                             "",
		"users/":                            "",
		"communications/presences":          "",
		"communications/presences()":        "",
		"communications/presences('')":      "",
		"communications/presences('a','b')": "",
		"communications/presences(id='a')":  "",
		"communications/presences(a)":       "",
		"chats/" + alice:                    "",
		"%zz/users/a":                       "a",
	} {
		assert.Equal(t, want, userInPath(path), path)
	}
}

func TestUserInResource(t *testing.T) {
	for resource, want := range map[string]string{
		"communications/presences/" + alice:                            alice,
		"communications/presences?$filter=id+in+(%27" + alice + "%27)": alice,
		"communications/presences?$filter=id%20in%20('" + alice + "')": alice,
		"/communications/presences?$filter=id in ( '" + alice + "' )":  alice,
		"communications/presences?$filter=id+in+()":                    "",
		"communications/presences?$filter=id+in+(%27a%27,%27b%27)":     "",
		"communications/presences?$filter=id+eq+%27" + alice + "%27":   "",
		"communications/presences?$filter=%zz(":                        "",
		"communications/presences?":                                    "",
		"":                                                             "",
	} {
		it := rawItem{resource: resource, resourceBytes: len(resource)}
		assert.Equal(t, want, it.userInResource(), resource)
	}
	long := rawItem{resource: "communications/presences/" + alice, resourceBytes: maxResource + 1}
	assert.Empty(t, long.userInResource(), "what was cut names nobody")
}

func TestNormalID(t *testing.T) {
	assert.Equal(t, alice, normalID(" "+strings.ToUpper(alice)+" "))
	assert.Equal(t, "Not-A-GUID", normalID("Not-A-GUID"))
	assert.Equal(t, "{"+strings.ToUpper(alice)+"}", normalID("{"+strings.ToUpper(alice)+"}"))
	assert.Empty(t, normalID(""))
}

func TestIsPresence(t *testing.T) {
	for _, s := range []string{"#microsoft.graph.presence", "#Microsoft.Graph.presence", "microsoft.graph.Presence"} {
		assert.True(t, isPresence(s), s)
	}
	for _, s := range []string{"", "#microsoft.graph.presences", "#microsoft.graph.chatMessage", "presence"} {
		assert.False(t, isPresence(s), s)
	}
}
