package graph

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/google/uuid"
)

// Group is a group of the directory.
type Group struct {
	ID          string `json:"id"`
	DisplayName string `json:"displayName"`
}

// FindGroups finds groups by object id, or by display name, of which there may be several with one: then
// all of them are returned. None is no error. It takes the permission GroupMember.Read.All.
func (c *Client) FindGroups(ctx context.Context, name string) ([]Group, error) {
	const op = "find group"
	k := call{op: op, class: classDirectory, lane: laneOnly, tokens: c.app, repeatable: true}
	if _, err := uuid.Parse(name); err == nil {
		body, err := c.get(ctx, k, c.graph+"/v1.0/groups/"+url.PathEscape(strings.ToLower(name))+"?$select=id,displayName")
		if IsKind(err, Gone) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		var g Group
		if err := tolerant(json.Unmarshal(body, &g)); err != nil || g.ID == "" {
			return nil, answerUnreadable(op)
		}
		return []Group{g}, nil
	}
	// A quote in a string is doubled (OData 4.01 URL conventions, section 5.1.1.14.1).
	filter := "displayName eq '" + strings.ReplaceAll(name, "'", "''") + "'"
	body, err := c.get(ctx, k, c.graph+"/v1.0/groups?$select=id,displayName&$filter="+url.QueryEscape(filter))
	if err != nil {
		return nil, err
	}
	var page struct {
		Value []Group `json:"value"`
	}
	if err := tolerant(json.Unmarshal(body, &page)); err != nil {
		return nil, answerUnreadable(op)
	}
	return page.Value, nil
}

// GroupMembers lists the users of a group, those of groups within it too, by their object ids. It takes the
// permission GroupMember.Read.All; an [Error] of kind Gone means that there is no such group. After an error of any
// kind the list is incomplete.
func (c *Client) GroupMembers(ctx context.Context, id string, each func(userID string) error) error {
	const op = "list group members"
	k := call{op: op, class: classDirectory, lane: laneOnly, tokens: c.app, repeatable: true}
	// The cast needs both on every page (learn:api/group-list-transitivemembers, advanced queries).
	eventual := []string{"ConsistencyLevel", "eventual"}
	link := c.graph + "/v1.0/groups/" + url.PathEscape(id) + "/transitiveMembers/microsoft.graph.user?$count=true&$select=id&$top=999"
	for range maxPages {
		body, err := c.get(ctx, k, link, eventual...)
		if err != nil {
			return err
		}
		var page struct {
			Value []struct {
				ID string `json:"id"`
			} `json:"value"`
			Next string `json:"@odata.nextLink"`
		}
		if err := tolerant(json.Unmarshal(body, &page)); err != nil {
			return answerUnreadable(op)
		}
		for _, u := range page.Value {
			if u.ID == "" {
				continue
			}
			if err := each(strings.ToLower(u.ID)); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		if page.Next == link {
			break
		}
		if link, err = withCount(page.Next); err != nil {
			return refused(op, "the next link cannot be read")
		}
	}
	return refused(op, "the pages do not end: Graph's next link leads back")
}

// withCount asks for the count on a further page too, if its link does not.
func withCount(link string) (string, error) {
	u, err := url.Parse(link)
	if err != nil {
		return "", err
	}
	if !strings.Contains(u.RawQuery, "count=true") {
		u.RawQuery += "&$count=true"
	}
	return u.String(), nil
}
