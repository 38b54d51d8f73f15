package graphsim

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var guidPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

var (
	onePattern    = regexp.MustCompile(`(?i)^communications/presences(?:/([^/?]+)|\('([^']+)'\))$`)
	filterPattern = regexp.MustCompile(`(?i)^communications/presences\?\$filter=(.*)$`)
	inPattern     = regexp.MustCompile(`(?i)^\s*id\s+in\s*\(([^()]*)\)\s*$`)
)

// parseResource reads whom a subscription watches: one id, or `$filter=id in ('…','…')`
// (learn:changenotifications-for-presence). Doubles count once.
func parseResource(resource string) ([]string, error) {
	resource = strings.TrimPrefix(resource, "/")
	var ids []string
	if m := onePattern.FindStringSubmatch(resource); m != nil {
		ids = []string{m[1] + m[2]}
	} else if m := filterPattern.FindStringSubmatch(resource); m != nil {
		filter, err := url.QueryUnescape(m[1])
		if err != nil {
			return nil, fmt.Errorf("resource: the filter is not well encoded: %w", err)
		}
		in := inPattern.FindStringSubmatch(filter)
		if in == nil {
			return nil, errors.New("resource: the filter must be id in ('{id}','{id}',…)")
		}
		for part := range strings.SplitSeq(in[1], ",") {
			part = strings.TrimSpace(part)
			if len(part) < 2 || part[0] != '\'' || part[len(part)-1] != '\'' {
				return nil, fmt.Errorf("resource: the id %s is not in single quotes", part)
			}
			ids = append(ids, part[1:len(part)-1])
		}
	} else {
		return nil, errors.New("resource is not supported: give communications/presences/{id} or communications/presences?$filter=id in (…)")
	}
	for i, id := range ids {
		if !guidPattern.MatchString(id) {
			return nil, fmt.Errorf("resource: %q is not an object id", id)
		}
		ids[i] = strings.ToLower(id)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) > maxWatched {
		return nil, fmt.Errorf("resource: %d ids are more than the %d that a presence subscription may watch", len(ids), maxWatched)
	}
	return ids, nil
}
