package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const example = "../../../deploy/example.yaml"

func TestExampleIsAccepted(t *testing.T) {
	src, err := os.ReadFile(example)
	require.NoError(t, err)
	c, err := Parse(filepath.Base(example), src, Options{ParsePolicy: func(yaml []byte) error {
		require.Contains(t, string(yaml), "preset: micollab")
		return nil
	}})
	require.NoError(t, err)
	require.Equal(t, "https://bridge.example.com/graph/contoso/notifications", c.NotificationURL("contoso"))
	require.Empty(t, c.Warnings)
}
