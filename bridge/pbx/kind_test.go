package pbx

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestKindsAsWords(t *testing.T) {
	for k := Unanswered; k <= Unauthorised; k++ {
		assert.NotEmpty(t, k.String())
		assert.Equal(t, k, ParseErrorKind(k.String()))
	}
	assert.Equal(t, Unanswered, ParseErrorKind("of a later version"))
	assert.Equal(t, "unanswered", ErrorKind(200).String())
}
