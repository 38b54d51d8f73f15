package threecx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
)

// fake is a PBX whose answers a test writes. Tokens are always given.
type fake struct {
	answer func(r *http.Request) (int, string)
}

func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := http.StatusOK, `{"access_token":"t","expires_in":3600}`
	if r.URL.Path != "/connect/token" {
		status, body = f.answer(r)
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func at(t testing.TB, answer func(r *http.Request) (int, string)) *Client {
	t.Helper()
	c, err := New(Config{
		URL: "http://pbx.test", ClientID: "bridge", Secret: func() (string, error) { return "s", nil }, HTTPClient: &http.Client{Transport: &fake{answer}}, PageSize: 3,
	})
	require.NoError(t, err)
	return c
}

// listing serves pages of ids, which a test may change between them.
func listing(ids *[]int, count bool, between func(page int)) func(r *http.Request) (int, string) {
	pages := 0
	return func(r *http.Request) (int, string) {
		if r.URL.Path == "/callcontrol" {
			return http.StatusOK, "[]"
		}
		q := r.URL.Query()
		top, _ := strconv.Atoi(q.Get("$top"))
		skip, _ := strconv.Atoi(q.Get("$skip"))
		var users []map[string]any
		for _, id := range (*ids)[min(skip, len(*ids)):min(skip+top, len(*ids))] {
			users = append(users, map[string]any{"Id": id, "Number": strconv.Itoa(100 + id), "CurrentProfileName": "Away"})
		}
		page := map[string]any{"value": users}
		if users == nil {
			page["value"] = []int{}
		}
		if count {
			page["@odata.count"] = len(*ids)
		}
		text, err := json.Marshal(page)
		if err != nil {
			return http.StatusInternalServerError, err.Error()
		}
		pages++
		if between != nil {
			between(pages)
		}
		return http.StatusOK, string(text)
	}
}

func ids(users []pbx.User) []int {
	var out []int
	for _, u := range users {
		id, _ := strconv.Atoi(u.ID)
		out = append(out, id)
	}
	return out
}

// Whoever comes or goes between two pages, everybody who is there all the time is listed, once.
func TestPaging(t *testing.T) {
	for name, c := range map[string]struct {
		count   bool
		between func(list *[]int, page int)
		want    []int
	}{
		"quiet":           {true, func(*[]int, int) {}, []int{1, 2, 3, 4, 5, 6, 7}},
		"without a count": {false, func(*[]int, int) {}, []int{1, 2, 3, 4, 5, 6, 7}},
		"somebody joins":  {true, joins(2, 8), []int{1, 2, 3, 4, 5, 6, 7, 8}},
		"in front": {true, func(l *[]int, page int) { // as in a list that is not sorted by id
			if page == 2 {
				*l = append([]int{9}, *l...)
			}
		}, []int{9, 1, 2, 3, 4, 5, 6, 7}},
		"the first one leaves":    {true, leaves(1, 1), []int{2, 3, 4, 5, 6, 7}},
		"one leaves, one joins":   {true, func(l *[]int, page int) { leaves(2, 2)(l, page); joins(2, 8)(l, page) }, []int{1, 3, 4, 5, 6, 7, 8}},
		"the last of a page goes": {true, leaves(1, 3), []int{1, 2, 4, 5, 6, 7}},
	} {
		t.Run(name, func(t *testing.T) {
			list := []int{1, 2, 3, 4, 5, 6, 7}
			client := at(t, listing(&list, c.count, func(page int) { c.between(&list, page) }))
			users, err := client.Snapshot(context.Background())
			require.NoError(t, err)
			require.Equal(t, c.want, ids(users))
		})
	}
}

func joins(page, id int) func(*[]int, int) {
	return func(l *[]int, p int) {
		if p == page {
			*l = append(*l, id)
		}
	}
}

func leaves(page, id int) func(*[]int, int) {
	return func(l *[]int, p int) {
		if p != page {
			return
		}
		kept := []int{}
		for _, have := range *l {
			if have != id {
				kept = append(kept, have)
			}
		}
		*l = kept
	}
}

// A list that never holds still is no list: half of one would make people leave.
func TestListThatNeverHoldsStill(t *testing.T) {
	list := []int{1, 2, 3, 4, 5, 6, 7}
	client := at(t, listing(&list, true, func(int) { list = append([]int{list[0] + 100}, list...) }))
	_, err := client.Snapshot(context.Background())
	require.Equal(t, pbx.Unanswered, pbx.KindOf(err))
	require.ErrorIs(t, err, errShifted)
}

func TestAnswersThatCannotBe(t *testing.T) {
	for name, body := range map[string]string{
		"html": "<html>", "empty": "", "null": "null", "no list": `{"value":null}`, "a list of lists": `{"value":{}}`, "another": `[]`,
	} {
		client := at(t, func(*http.Request) (int, string) { return http.StatusOK, body })
		_, err := client.Snapshot(context.Background())
		var typed *pbx.Error
		require.ErrorAs(t, err, &typed, name)
		require.Equal(t, pbx.Unanswered, typed.Kind, name)
		require.ErrorIs(t, err, errBadAnswer, name)
		_, err = client.Read(context.Background(), "7")
		require.ErrorIs(t, err, errBadAnswer, name)
	}
	// One that cannot be read costs no other.
	client := at(t, func(r *http.Request) (int, string) {
		if r.URL.Path == "/callcontrol" {
			return http.StatusOK, `[{"dn":"102","participants":[{"id":1,"status":"Connected"}]}]`
		}
		return http.StatusOK, `{"value":[7,{"Id":"x"},{"Id":2,"Number":"102"},{"Id":3}],"@odata.count":4}`
	})
	users, err := client.Snapshot(context.Background())
	require.NoError(t, err)
	require.Equal(t, []int{2}, ids(users))
	require.EqualValues(t, "in-call", users[0].State.Line)
	require.True(t, users[0].State.Status.IsZero(), "a user without a profile has no status")
}

// However much a PBX says, it is not read.
func TestAnswersAreBounded(t *testing.T) {
	client := at(t, func(*http.Request) (int, string) {
		return http.StatusOK, `{"Id":7,"Number":"1` + strings.Repeat("0", maxOne) + `"}`
	})
	_, err := client.Read(context.Background(), "7")
	require.ErrorIs(t, err, errTooLong)
}

func TestKindsOfRefusals(t *testing.T) {
	for status, want := range map[int]pbx.ErrorKind{
		400: pbx.Refused, 401: pbx.Unauthorised, 403: pbx.Unauthorised, 404: pbx.Gone, 408: pbx.Unanswered, 410: pbx.Gone, 429: pbx.Throttled,
		302: pbx.Refused, 500: pbx.Unanswered, 502: pbx.Unanswered, 504: pbx.Unanswered,
	} {
		client := at(t, func(*http.Request) (int, string) { return status, "somebody@contoso.example" })
		_, err := client.Read(context.Background(), "7")
		require.Equal(t, want, pbx.KindOf(err), status)
		require.NotContains(t, err.Error(), "somebody", "what the PBX writes goes nowhere")
		p := explain(err)
		require.NotEmpty(t, p.Code)
		require.NotEmpty(t, p.Text)
		require.True(t, !p.Person || p.Remedy != "", p.Code)
	}
	for _, err := range []error{
		errNoSecret, errTooOld, errNotMonitored, errSilent, errEnded, errBadAnswer, errTooLong, errToken, errors.New("x"), context.DeadlineExceeded,
		&statusError{status: 404, area: areaCalls}, &statusError{status: 403, area: areaToken}, &statusError{status: 403, area: areaWrite, licensed: true},
	} {
		p := explain(fmt.Errorf("wrapped: %w", err))
		require.Regexp(t, "^[a-z_]+$", p.Code)
		require.True(t, !p.Person || p.Remedy != "", p.Code)
	}
}

// The PBX's own synchronisation counts as on when it sets anything.
func TestSyncsPresence(t *testing.T) {
	for body, want := range map[string]bool{
		`{}`: false, `{"AdUsers":null}`: false, `{"AdUsers":{"SetTeamsPresence":false,"StatusSyncConfiguration":null}}`: false,
		`{"AdUsers":{"SetTeamsPresence":true}}`:                                                                      true,
		`{"AdUsers":{"IsEnabled":true,"StatusSyncConfiguration":{"PBXToM365Busy":true}}}`:                            true,
		`{"AdUsers":{"IsEnabled":true,"StatusSyncConfiguration":{"M365ToPbxBindings":[{"From":"Busy"}]}}}`:           true,
		`{"AdUsers":{"IsEnabled":false,"StatusSyncConfiguration":{"M365ToPbxBindings":[{"From":"Busy"}]}}}`:          false,
		`{"AdUsers":{"IsEnabled":true,"StatusSyncConfiguration":{"M365ToPbxBindings":[],"PBXToM365Bindings":null}}}`: false,
	} {
		got, err := syncsPresence([]byte(body))
		require.NoError(t, err)
		require.Equal(t, want, got, body)
	}
	_, err := syncsPresence([]byte("<html>"))
	require.Error(t, err)
}
