// Package wiretest compares messages that are written and read by hand with encoding/json.
package wiretest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/wire"
)

// Parser is the pointer to a message M.
type Parser[M any] interface {
	*M
	wire.Parser
}

// Fuzz reads bodies in both ways, and writes what encoding/json has read in both ways. With -test.fuzz the fuzzer makes
// bodies from the messages. The parser must accept the messages as they are written.
func Fuzz[M wire.Appender, P Parser[M]](f *testing.F, messages ...M) {
	f.Helper()
	for _, m := range messages {
		body, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		if !P(new(M)).ParseJSON(body) {
			f.Errorf("the parser does not accept %s", body)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var fast, slow M
		err := strict(body, &slow)
		if P(&fast).ParseJSON(body) {
			if err != nil {
				t.Fatalf("the parser accepts %q, encoding/json does not: %v", body, err)
			}
			if diff := cmp.Diff(slow, fast); diff != "" {
				t.Fatalf("of %q the parser makes (-encoding/json +parser):\n%s", body, diff)
			}
		} else if diff := cmp.Diff(*new(M), fast); diff != "" {
			t.Fatalf("the parser does not accept %q, and has changed the message:\n%s", body, diff)
		}
		if err != nil {
			return
		}
		want, wantErr := json.Marshal(slow)
		got, gotErr := slow.AppendJSON([]byte("before"))
		if (wantErr == nil) != (gotErr == nil) || wantErr == nil && string(got) != "before"+string(want) {
			t.Fatalf("of %+v the appender makes\n%s, error %v, encoding/json\n%s, error %v", slow, got, gotErr, want, wantErr)
		}
	})
}

// strict reads one value, without unknown fields.
func strict(body []byte, dst any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(dst); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}
