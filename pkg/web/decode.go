package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"holdfast/pkg/fault"
	"holdfast/pkg/wire"
)

// What can be wrong with a body.
var (
	errInvalidContentType = fault.New(fault.Invalid, "invalid_content_type", "the body must be application/json in UTF-8")
	errBodyTooLarge       = fault.New(fault.TooLarge, "body_too_large", "the body is too large")
	errInvalidUTF8        = fault.New(fault.Invalid, "invalid_utf8", "the body is not valid UTF-8")
	errInvalidJSON        = fault.New(fault.Invalid, "invalid_json", "the body is not valid JSON")
	errDuplicateField     = fault.New(fault.Invalid, "duplicate_field", "the body has a field twice")
	errUnknownField       = fault.New(fault.Invalid, "unknown_field", "the body has a field that is not known")
	errInvalidType        = fault.New(fault.Invalid, "invalid_type", "a field has the wrong type")
)

// Decode reads the request's JSON body into dst, a pointer, strictly: what we do not understand is refused, because a
// misspelled field that is ignored turns an order into another order. It returns the faults invalid_content_type,
// body_too_large, invalid_utf8, invalid_json, duplicate_field, unknown_field and invalid_type; the last three name the
// field in their details. After a fault dst is as it was.
func Decode(c *gin.Context, dst any) error {
	if err := checkContentType(c.Request.Header.Get("Content-Type")); err != nil {
		return err
	}
	body, err := io.ReadAll(c.Request.Body)
	if err != nil {
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return errBodyTooLarge.WithText("the body is larger than %d bytes", tooLarge.Limit)
		}
		return errInvalidJSON.WithText("the body ended early").Wrap(err)
	}
	if wire.Parse(body, dst) {
		return nil
	}
	return decodeJSON(body, dst)
}

func checkContentType(header string) error {
	mediaType, params, err := mime.ParseMediaType(header)
	if err != nil || mediaType != "application/json" {
		return errInvalidContentType
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return errInvalidContentType
	}
	return nil
}

func decodeJSON(body []byte, dst any) error {
	if !utf8.Valid(body) {
		return errInvalidUTF8 // encoding/json would replace the bad bytes and say nothing
	}
	trimmed := bytes.TrimSpace(body)
	switch {
	case len(trimmed) == 0:
		return errInvalidJSON.WithText("the body is empty")
	case string(trimmed) == "null":
		return errInvalidType.WithText("the body is null") // encoding/json would take it for an empty object
	}
	// A fault may come after fields were filled in already, so decode into a value of our own.
	value := reflect.New(reflect.TypeOf(dst).Elem())
	d := json.NewDecoder(bytes.NewReader(trimmed))
	d.DisallowUnknownFields()
	if err := d.Decode(value.Interface()); err != nil {
		return jsonFault(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errInvalidJSON.WithText("something follows the JSON value")
	}
	if err := checkNames(json.NewDecoder(bytes.NewReader(trimmed))); err != nil {
		return err
	}
	reflect.ValueOf(dst).Elem().Set(value.Elem())
	return nil
}

// checkNames reads one JSON value and refuses objects that have a field twice, in whatever case. encoding/json would
// mix the two: of {"sku":"A","quantity":1,"SKU":"B"} it makes one unit of B, and a proxy that looked at it saw A. The
// value must have been decoded before, which bounds how deep it is.
func checkNames(d *json.Decoder) error {
	token, err := d.Token()
	if err != nil {
		return errInvalidJSON.Wrap(err)
	}
	opening, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if opening == '{' {
			name, err := d.Token()
			if err != nil {
				return errInvalidJSON.Wrap(err)
			}
			folded := strings.ToLower(name.(string)) // the decoder has seen to it that a name is a string
			if seen[folded] {
				return errDuplicateField.With("field", name).WithText("%q is there twice", name)
			}
			seen[folded] = true
		}
		if err := checkNames(d); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil { // the closing bracket
		return errInvalidJSON.Wrap(err)
	}
	return nil
}

func jsonFault(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return errInvalidType.With("field", wrong.Field).
			WithText("%q must be %s, not %s", wrong.Field, jsonName(wrong.Type), wrong.Value)
	}
	// encoding/json has no error type for an unknown field, so its text is all there is.
	if quoted, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		field, unquoteErr := strconv.Unquote(quoted)
		if unquoteErr != nil {
			field = quoted
		}
		return errUnknownField.With("field", field).WithText("%q is not a known field", field)
	}
	return errInvalidJSON.Wrap(err)
}

// jsonName is what a JSON author calls t.
func jsonName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return t.Kind().String()
	}
}

// QueryInt returns the query parameter name as a number from minimum to maximum, or def when it is absent. It returns
// the fault invalid_parameter, which names the parameter.
func QueryInt(c *gin.Context, name string, def, minimum, maximum int) (int, error) {
	text, ok := c.GetQuery(name)
	if !ok {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < minimum || n > maximum {
		return 0, errInvalidParameter.With("parameter", name).
			WithText("%s is a whole number from %d to %d", name, minimum, maximum)
	}
	return n, nil
}
