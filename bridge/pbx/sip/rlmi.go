package sip

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
	"strings"
)

// What a notification about a list may hold.
const (
	maxList      = 8 << 20
	maxResources = 50_000
	maxNesting   = 3
)

// listInfo is one notification about a resource list (RFC 4662).
type listInfo struct {
	version   uint64
	full      bool
	resources []resource
}

// resource is one member of a list.
type resource struct {
	uri, name   string
	instance    bool   // something is known about it
	terminated  bool   // the list's own subscription to it ended
	contentType string // of body; "" without one
	body        []byte
}

// part is one part of a multipart body.
type part struct {
	id, contentType string
	body            []byte
}

// parseList reads multipart/related with application/rlmi+xml as its root (RFC 4662 section 5). A list within a list
// is read as part of it.
func parseList(contentType string, body []byte) (listInfo, error) {
	return parseListAt(contentType, body, 0)
}

func parseListAt(contentType string, body []byte, depth int) (listInfo, error) {
	if len(body) > maxList || depth > maxNesting {
		return listInfo{}, fmt.Errorf("%w: the list is too large", errDocument)
	}
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/related" || params["boundary"] == "" {
		return listInfo{}, fmt.Errorf("%w: a list must be multipart/related", errDocument)
	}
	parts, err := readParts(body, params["boundary"])
	if err != nil {
		return listInfo{}, err
	}
	root := -1
	for i, p := range parts {
		if mediaType(p.contentType) == "application/rlmi+xml" && (root < 0 || p.id == strings.Trim(params["start"], "<>")) {
			root = i
		}
	}
	if root < 0 {
		return listInfo{}, fmt.Errorf("%w: the list has no application/rlmi+xml", errDocument)
	}
	return readList(parts, root, depth)
}

func readParts(body []byte, boundary string) ([]part, error) {
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	var out []part
	for {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errDocument, err)
		}
		data, err := io.ReadAll(p)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errDocument, err)
		}
		if len(out) >= maxResources {
			return nil, fmt.Errorf("%w: too many parts", errDocument)
		}
		out = append(out, part{id: strings.Trim(p.Header.Get("Content-Id"), "<> "), contentType: p.Header.Get("Content-Type"), body: data})
	}
}

func readList(parts []part, root, depth int) (listInfo, error) {
	e, err := parseXML(parts[root].body, maxList)
	if err != nil {
		return listInfo{}, err
	}
	if e.name != "list" {
		return listInfo{}, fmt.Errorf("%w: its root is %q instead of list", errDocument, clip(e.name))
	}
	version, err := strconv.ParseUint(strings.TrimSpace(e.attr("version")), 10, 64)
	if err != nil {
		return listInfo{}, fmt.Errorf("%w: the list's version is no number", errDocument)
	}
	full := strings.ToLower(strings.TrimSpace(e.attr("fullState")))
	info := listInfo{version: version, full: full == "true" || full == "1"}
	byID := make(map[string]part, len(parts))
	for i, p := range parts {
		if i != root && p.id != "" {
			byID[p.id] = p
		}
	}
	for _, r := range e.all("resource") {
		more, err := readResource(r, byID, depth)
		if err != nil {
			return listInfo{}, err
		}
		info.resources = append(info.resources, more...)
	}
	return info, nil
}

// readResource reads one resource, or those of the list that it is.
func readResource(e *element, byID map[string]part, depth int) ([]resource, error) {
	r := resource{uri: strings.TrimSpace(e.attr("uri"))}
	if r.uri == "" {
		return nil, fmt.Errorf("%w: a resource has no uri", errDocument)
	}
	if n := e.first("name"); n != nil {
		r.name = strings.TrimSpace(n.text)
	}
	for _, inst := range e.all("instance") {
		r.instance = true
		r.terminated = strings.EqualFold(inst.attr("state"), "terminated")
		p, ok := byID[inst.attr("cid")]
		if !ok {
			continue
		}
		if mediaType(p.contentType) == "multipart/related" {
			inner, err := parseListAt(p.contentType, p.body, depth+1)
			return inner.resources, err
		}
		r.contentType, r.body = p.contentType, p.body
		if !r.terminated {
			break
		}
	}
	return []resource{r}, nil
}

// mediaType is a content type without its parameters, in lower case.
func mediaType(s string) string {
	kind, _, _ := strings.Cut(s, ";")
	return strings.ToLower(strings.TrimSpace(kind))
}
