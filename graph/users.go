package graph

import (
	"context"
	"encoding/json"

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
		Select: []string{"id", "userPrincipalName", "mail", "displayName", "accountEnabled", "userType", "businessPhones", "mobilePhone"},
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
			Value []struct {
				User
				Enabled *bool `json:"accountEnabled"`
			} `json:"value"`
			Next string `json:"@odata.nextLink"`
		}
		if err := tolerant(json.Unmarshal(body, &page)); err != nil {
			return answerUnreadable(op)
		}
		for _, u := range page.Value {
			u.User.Enabled = u.Enabled == nil || *u.Enabled
			if u.ID == "" {
				continue
			}
			if err := each(u.User); err != nil {
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
