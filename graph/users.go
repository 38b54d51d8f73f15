package graph

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/microsoftgraph/msgraph-sdk-go/users"
)

// User is a user of the directory.
type User struct {
	ID          string `json:"id"`
	UPN         string `json:"userPrincipalName"`
	Mail        string `json:"mail"`
	DisplayName string `json:"displayName"`
	// Enabled is accountEnabled; true where Graph does not tell (User.ReadBasic.All does not).
	Enabled bool `json:"-"`
	// UserType is "Member" or "Guest"; "" where Graph does not tell.
	UserType       string   `json:"userType"`
	BusinessPhones []string `json:"businessPhones"`
	MobilePhone    string   `json:"mobilePhone"`
	// ProxyAddresses are all addresses with their type: "SMTP:" is the primary mail address, "smtp:" a further one
	// (learn:api/resources/user).
	ProxyAddresses []string `json:"proxyAddresses"`
	// Attribute is the value of [Config.UserAttribute].
	Attribute string `json:"-"`
}

// selectOfUsers is what is asked for of a user.
func (c *Client) selectOfUsers() []string {
	list := []string{"id", "userPrincipalName", "mail", "displayName", "accountEnabled", "userType", "businessPhones", "mobilePhone", "proxyAddresses"}
	switch name := c.cfg.UserAttribute; {
	case name == "":
	case isExtensionAttribute(name):
		list = append(list, extensionAttributes)
	case !slices.Contains(list, name):
		list = append(list, name)
	}
	return list
}

// extensionAttributes is the property that holds extensionAttribute1 to 15 (learn:api/resources/onpremisesextensionattributes).
const extensionAttributes = "onPremisesExtensionAttributes"

func isExtensionAttribute(name string) bool { return strings.HasPrefix(name, "extensionAttribute") }

// userProperties are a user's as Graph sent them: those that it left out are missing, and that is not the
// same as null.
type userProperties map[string]json.RawMessage

// onto puts the properties that are there into u; null empties one. What cannot be read is left as it was.
func (p userProperties) onto(u *User, attribute string) {
	text := func(name string, to *string) {
		raw, sent := p[name]
		var s *string
		if !sent || json.Unmarshal(raw, &s) != nil {
			return
		}
		*to = ""
		if s != nil {
			*to = *s
		}
	}
	list := func(name string, to *[]string) {
		var l []string
		if raw, sent := p[name]; sent && json.Unmarshal(raw, &l) == nil {
			*to = l
		}
	}
	text("id", &u.ID)
	text("userPrincipalName", &u.UPN)
	text("mail", &u.Mail)
	text("displayName", &u.DisplayName)
	text("userType", &u.UserType)
	text("mobilePhone", &u.MobilePhone)
	list("businessPhones", &u.BusinessPhones)
	list("proxyAddresses", &u.ProxyAddresses)
	var enabled *bool
	if raw, sent := p["accountEnabled"]; sent && json.Unmarshal(raw, &enabled) == nil {
		u.Enabled = enabled == nil || *enabled
	}
	switch {
	case attribute == "":
	case isExtensionAttribute(attribute):
		var inner userProperties
		if raw, sent := p[extensionAttributes]; sent && json.Unmarshal(raw, &inner) == nil {
			u.Attribute = ""
			inner.attribute(attribute, u)
		}
	default:
		p.attribute(attribute, u)
	}
}

// attribute reads the site's own attribute, which may be a text or a number.
func (p userProperties) attribute(name string, u *User) {
	raw, sent := p[name]
	if !sent {
		return
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return
	}
	u.Attribute = ""
	switch v := v.(type) {
	case string:
		u.Attribute = v
	case float64:
		u.Attribute = strings.Trim(string(raw), " ")
	}
}

// usersPage is how many users a page holds; Graph's own choice would be 100.
const usersPage int32 = 999

// maxPages bounds a listing whose links never end.
const maxPages = 20_000

// Users lists the directory's users, page by page, and calls each for every one; an error of each ends
// it and is returned as it is. After an error the list is incomplete.
func (c *Client) Users(ctx context.Context, each func(User) error) error {
	const op = "list users"
	top := usersPage
	config := &users.UsersRequestBuilderGetRequestConfiguration{QueryParameters: &users.UsersRequestBuilderGetQueryParameters{
		Select: c.selectOfUsers(),
		Top:    &top,
	}}
	builder := users.NewUsersRequestBuilderInternal(c.base(), c.adapter)
	k := call{op: op, class: classDirectory, lane: laneOnly, tokens: c.app, repeatable: true}
	next := ""
	for range maxPages {
		info, err := builder.ToGetRequestInformation(ctx, config)
		body, err := c.send(ctx, k, info, err)
		if err != nil {
			return err
		}
		var page struct {
			Value []userProperties `json:"value"`
			Next  string           `json:"@odata.nextLink"`
		}
		if err := tolerant(json.Unmarshal(body, &page)); err != nil {
			return answerUnreadable(op)
		}
		for _, p := range page.Value {
			u := User{Enabled: true}
			p.onto(&u, c.cfg.UserAttribute)
			if u.ID == "" {
				continue
			}
			if err := each(u); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		if page.Next == next {
			break
		}
		next, config = page.Next, nil
		builder = builder.WithUrl(next)
	}
	return refused(op, "the pages do not end: Graph's next link leads back")
}
