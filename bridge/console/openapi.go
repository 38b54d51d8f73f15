package console

import (
	_ "embed"
	"fmt"
	"net/http"

	"github.com/goccy/go-yaml"
	"github.com/labstack/echo/v4"
)

//go:embed openapi.yaml
var openapiYAML []byte

// spec is the API's description in both notations.
type spec struct{ yaml, json []byte }

func loadSpec() (spec, error) {
	js, err := yaml.YAMLToJSON(openapiYAML)
	if err != nil {
		return spec{}, fmt.Errorf("console: openapi.yaml: %w", err)
	}
	return spec{yaml: openapiYAML, json: js}, nil
}

func (c *Console) openapiYAML(ctx echo.Context) error {
	return ctx.Blob(http.StatusOK, "application/yaml", c.spec.yaml) // RFC 9512
}

func (c *Console) openapiJSON(ctx echo.Context) error {
	return ctx.Blob(http.StatusOK, "application/json", c.spec.json)
}
