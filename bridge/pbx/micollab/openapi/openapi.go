// Package openapi holds the description (OpenAPI 3.1) of the MiCollab-style endpoint. It is a document
// and no code, so that both sides, the connector and the simulator, can carry the same one and still
// share nothing else.
package openapi

import _ "embed"

// YAML is the document. It is not to be changed.
//
//go:embed openapi.yaml
var YAML []byte
