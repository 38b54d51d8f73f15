package notify

import (
	"net/url"
	"strings"

	"github.com/google/uuid"
)

// userOf is whom the envelope of an item is about: resourceData.id, which was null in samples of 2020,
// else @odata.id. "" when it does not say.
func (it *rawItem) userOf() string {
	if it.dataID != "" {
		return normalID(it.dataID)
	}
	return userInPath(it.dataODataID)
}

// userInResource is the user that the resource names, if it names one alone. Rich and multi-user
// subscriptions echo the whole $filter there, so this is the last thing to look at.
func (it *rawItem) userInResource() string {
	if it.resourceBytes > maxResource {
		return ""
	}
	path, query, _ := strings.Cut(it.resource, "?")
	if query == "" {
		return userInPath(path)
	}
	filter, err := url.QueryUnescape(query)
	if err != nil {
		return ""
	}
	_, list, ok := strings.Cut(filter, "(")
	if !ok {
		return ""
	}
	id, ok := quoted(strings.TrimSuffix(strings.TrimSpace(list), ")"))
	if !ok {
		return ""
	}
	return normalID(id)
}

// userInPath finds the user in the forms of @odata.id and of a single-user resource:
// users/{id}/presence, users('{id}')/presence, communications/presences/{id} and
// communications/presences('{id}'), with or without host and version in front.
func userInPath(path string) string {
	path, _, _ = strings.Cut(path, "?")
	if p, err := url.PathUnescape(path); err == nil {
		path = p
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		name, key, keyed := strings.Cut(s, "(")
		if !strings.EqualFold(name, "users") && !strings.EqualFold(name, "presences") {
			continue
		}
		if keyed {
			if id, ok := quoted(strings.TrimSuffix(key, ")")); ok {
				return normalID(id)
			}
			return ""
		}
		if i+1 < len(segments) {
			return normalID(segments[i+1])
		}
	}
	return ""
}

// quoted returns what stands between a single pair of single quotes, if there is nothing else.
func quoted(s string) (string, bool) {
	s = strings.TrimSpace(s)
	if len(s) < 3 || s[0] != '\'' || s[len(s)-1] != '\'' || strings.Contains(s[1:len(s)-1], "'") {
		return "", false
	}
	return s[1 : len(s)-1], true
}

// normalID writes a GUID in lower case. Ids of any other form are kept: Graph calls them strings.
func normalID(id string) string {
	id = strings.TrimSpace(id)
	if len(id) == 36 && uuid.Validate(id) == nil {
		return strings.ToLower(id)
	}
	return id
}

// isPresence tells whether an @odata.type is that of a presence; its casing varies between samples.
func isPresence(odataType string) bool {
	return strings.EqualFold(strings.TrimPrefix(odataType, "#"), "microsoft.graph.presence")
}
