package bridge

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

// full is a record in which nothing is missing, so that every field can be changed.
func full() Record {
	return Record{
		Member: "m",
		Teams: TeamsSide{
			OrganicState: OrganicSeen, Assertion: &TeamsAssertion{Preferred: &WithPreferred{}}, Write: &TeamsWrite{}, Note: &TeamsNote{}, Withdrawn: []Withdrawn{{}}, Would: &WouldBe{},
		},
		Endpoints: []EndpointSide{{Assertion: &EndpointAssertion{}, Write: &EndpointWrite{Message: new(string)}, Note: &EndpointNote{}, Override: &Override{}, Would: &WouldBe{}}},
	}
}

// A field that the key forgets would let the exploration take two different records for one.
func TestTheKeyTellsEveryFieldApart(t *testing.T) {
	plain := full()
	key := string(plain.AppendKey(nil))
	seen := 0
	eachField(reflect.ValueOf(full), nil, func(path []int, name string) {
		if name == "Because" || name == "cause" || name == "policy" { // only explains, or is another part of the rules
			return
		}
		seen++
		r := full()
		change(t, fieldAt(reflect.ValueOf(&r).Elem(), path), name)
		assert.NotEqual(t, key, string(r.AppendKey(nil)), "the key does not hold %s", name)
	})
	assert.Greater(t, seen, 50)
}

// eachField visits the leaves of a Record by the way to them: fields of structs, pointers and first items.
func eachField(_ reflect.Value, _ []int, visit func(path []int, name string)) {
	r := full()
	var walk func(v reflect.Value, path []int, name string)
	walk = func(v reflect.Value, path []int, name string) {
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() {
				visit(path, name)
				return
			}
			walk(v.Elem(), append(path[:len(path):len(path)], -1), name)
		case reflect.Slice:
			if v.Len() == 0 {
				visit(path, name)
				return
			}
			walk(v.Index(0), append(path[:len(path):len(path)], -2), name)
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[time.Time]() || v.Type() == reflect.TypeFor[cause]() {
				visit(path, name)
				return
			}
			for i := range v.NumField() {
				walk(v.Field(i), append(path[:len(path):len(path)], i), v.Type().Field(i).Name)
			}
		default:
			visit(path, name)
		}
	}
	walk(reflect.ValueOf(&r).Elem(), nil, "")
}

func fieldAt(v reflect.Value, path []int) reflect.Value {
	for _, p := range path {
		switch p {
		case -1:
			v = v.Elem()
		case -2:
			v = v.Index(0)
		default:
			v = v.Field(p)
		}
	}
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem() // unexported ones, too
}

func change(t *testing.T, v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	case reflect.Struct:
		v.Set(reflect.ValueOf(time.Unix(77, 0)))
	default:
		t.Fatalf("%s is a %s, which this test and the key do not know", name, v.Kind())
	}
}

func TestCanonicalKeepsWhatDecides(t *testing.T) {
	w := newWorld(t, trustedPBX)
	w.introduce()
	w.drain()
	w.setClient(presence.ParsePairString("Busy/InACall"))
	w.drain()
	c := w.rec.Canonical()
	a, effects := Step(w.rules, w.rec, ReadAgain{Teams: true, PBX: true}, w.now)
	b, again := Step(w.rules, c, ReadAgain{Teams: true, PBX: true}, w.now)
	a, b = a.Canonical(), b.Canonical()
	assert.Equal(t, string(a.AppendKey(nil)), string(b.AppendKey(nil)))
	assert.Len(t, again, len(effects))
	assert.Equal(t, string(c.AppendKey(nil)), func() string { d := c.Canonical(); return string(d.AppendKey(nil)) }(), "canonical is canonical")
}

func TestStoredAsIsWhatTheStoreGivesBack(t *testing.T) {
	w := newWorld(t, trustedPBX)
	was := w.rec
	w.introduce()
	w.setClient(presence.ParsePairString("Busy/InACall"))
	w.drain()
	loaded, stored := w.rec.StoredAs(&was)
	require.True(t, stored)
	data, err := json.Marshal(&w.rec)
	require.NoError(t, err)
	want, err := decodeRecord(data)
	require.NoError(t, err)
	wc, lc := want.Canonical(), loaded.Canonical()
	assert.Equal(t, string(wc.AppendKey(nil)), string(lc.AppendKey(nil)))
	_, stored = w.rec.StoredAs(&w.rec)
	assert.False(t, stored)
}
