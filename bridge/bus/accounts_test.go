package bus

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAccountsOfABucket(t *testing.T) {
	b := openBus(t, testConfig(t))
	k := b.Bucket(Monitors)
	none, err := k.Accounts(t.Context())
	require.NoError(t, err)
	require.Empty(t, none)
	for _, account := range []string{"fabrikam", "contoso", "contoso"} {
		_, err := k.Put(t.Context(), account, account+"-"+string(rune('a'+len(none))), []byte("v"), 0)
		none = append(none, account)
		require.NoError(t, err)
	}
	rev, err := k.Put(t.Context(), "gone", "m", []byte("v"), 0)
	require.NoError(t, err)
	require.NoError(t, k.Delete(t.Context(), "gone", "m", rev))
	all, err := k.Accounts(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"contoso", "fabrikam"}, all)
	all, err = b.Bucket(Replicas).Accounts(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
}
