package web_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/fault"
	"holdfast/pkg/web"
)

type item struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

type order struct {
	Note  string `json:"note"`
	Items []item `json:"items"`
}

// decode runs Decode as a handler would, on a body of at most 1 KiB.
func decode(body io.Reader, contentType string, dst any) error {
	w := httptest.NewRecorder()
	c, _ := gin.CreateTestContext(w)
	c.Request = httptest.NewRequest(http.MethodPost, "/", body)
	c.Request.Body = http.MaxBytesReader(w, c.Request.Body, 1024)
	c.Request.Header.Set("Content-Type", contentType)
	return web.Decode(c, dst)
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"application/json", "application/json; charset=UTF-8"} {
		var got order
		err := decode(strings.NewReader(" {\"note\":\"né\",\"items\":[{\"sku\":\"A\",\"quantity\":2}]}\n"), contentType, &got)
		want := order{Note: "né", Items: []item{{"A", 2}}}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", contentType, err, diff)
		}
	}
}

func TestDecode_faultsChangeNothing(t *testing.T) {
	t.Parallel()
	const js = "application/json"
	tests := []struct {
		name, contentType, body string
		code, field             string
	}{
		{"no content type", "", `{}`, "invalid_content_type", ""},
		{"form", "application/x-www-form-urlencoded", `{}`, "invalid_content_type", ""},
		{"other charset", "application/json; charset=latin1", `{}`, "invalid_content_type", ""},
		{"too large", js, `{"note":"` + strings.Repeat("x", 1024) + `"}`, "body_too_large", ""},
		{"too large by spaces", js, `{}` + strings.Repeat(" ", 1024), "body_too_large", ""},
		{"bad UTF-8", js, "{\"note\":\"\xff\"}", "invalid_utf8", ""},
		{"UTF-16", js, "\xff\xfe{\x00}\x00", "invalid_utf8", ""},
		{"empty", js, "", "invalid_json", ""},
		{"blank", js, " \n", "invalid_json", ""},
		{"broken", js, `{"note":`, "invalid_json", ""},
		{"trailing value", js, `{"note":"b"} {}`, "invalid_json", ""},
		{"trailing garbage", js, `{"note":"b"}]`, "invalid_json", ""},
		{"two objects in one", js, `{"note":"b"}{"note":"c"}`, "invalid_json", ""},
		{"unknown field", js, `{"note":"b","colour":"red"}`, "unknown_field", "colour"},
		{"unknown field within", js, `{"note":"b","items":[{"sku":"A","qty":1}]}`, "unknown_field", "qty"},
		{"field twice", js, `{"note":"b","note":"c"}`, "duplicate_field", "note"},
		{"field twice within", js, `{"items":[{"sku":"A","quantity":1,"SKU":"B"}]}`, "duplicate_field", "SKU"},
		{"broken within", js, `{"items":[{"sku":"A",}]}`, "invalid_json", ""},
		{"not closed", js, `{"items":[{"sku":"A"}`, "invalid_json", ""},
		{"name without quotes", js, `{note:1}`, "invalid_json", ""},
		{"too deep", js, strings.Repeat("[", 1000), "invalid_json", ""},
		{"wrong type", js, `{"note":7}`, "invalid_type", "note"},
		{"wrong type within", js, `{"note":"b","items":[{"sku":"A","quantity":"1"}]}`, "invalid_type", "items.quantity"},
		{"fraction", js, `{"note":"b","items":[{"sku":"A","quantity":1.5}]}`, "invalid_type", "items.quantity"},
		{"too big a number", js, `{"note":"b","items":[{"sku":"A","quantity":9223372036854775808}]}`, "invalid_type", "items.quantity"},
		{"array for object", js, `[{"note":"b"}]`, "invalid_type", ""},
		{"null", js, `null`, "invalid_type", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := order{Note: "before", Items: []item{{"B", 9}}}
			err := decode(strings.NewReader(tt.body), tt.contentType, &got)
			f := fault.From(err)
			if f == nil || f.Code != tt.code || f.Ambiguous {
				t.Fatalf("got %v, want %s, not executed", err, tt.code)
			}
			if field, _ := f.Details["field"].(string); field != tt.field {
				t.Errorf("the details name %q, want %q", field, tt.field)
			}
			wantKind := fault.Invalid
			if tt.code == "body_too_large" {
				wantKind = fault.TooLarge
			}
			if f.Kind != wantKind {
				t.Errorf("kind %s, want %s", f.Kind, wantKind)
			}
			if diff := cmp.Diff(order{Note: "before", Items: []item{{"B", 9}}}, got); diff != "" {
				t.Errorf("the destination was changed: %s", diff)
			}
		})
	}
}

func TestDecode_bodyCutShort(t *testing.T) {
	t.Parallel()
	got := order{Note: "before"}
	err := decode(io.MultiReader(strings.NewReader(`{"note":"b"}`), brokenReader{}), "application/json", &got)
	if f := fault.From(err); f == nil || f.Code != "invalid_json" || !errors.Is(err, io.ErrUnexpectedEOF) || got.Note != "before" {
		t.Errorf("got %v, %+v", err, got)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{}`, `null`, `{"note":"a","items":[{"sku":"A","quantity":1}]}`, `{"a":1}`, `[]`, "\xff", `{"items":null}`, `{"note":1e999}`, `{"a":[[{"b":1,"B":{}}]]}`} {
		f.Add([]byte(seed))
	}
	codes := map[string]bool{
		"invalid_json": true, "invalid_utf8": true, "unknown_field": true, "invalid_type": true, "duplicate_field": true, "body_too_large": true,
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got := order{Note: "before"}
		err := decode(bytes.NewReader(body), "application/json", &got)
		if err == nil {
			if !utf8.Valid(body) || len(body) > 1024 {
				t.Errorf("accepted %q", body)
			}
			return
		}
		if f := fault.From(err); !codes[f.Code] {
			t.Errorf("%q: unexpected fault %v", body, err)
		}
		if got.Note != "before" || got.Items != nil {
			t.Errorf("%q: the destination was changed to %+v", body, got)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	const body = `{"note":"n","items":[{"sku":"MUG-CLASSIC","quantity":2},{"sku":"TEE-BLACK-M","quantity":1}]}`
	for b.Loop() {
		var got order
		if err := decode(strings.NewReader(body), "application/json", &got); err != nil {
			b.Fatal(err)
		}
	}
}
