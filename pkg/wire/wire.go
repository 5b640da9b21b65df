// Package wire writes and reads the JSON of the hottest messages by hand, several times faster than encoding/json. Both
// give the same bytes and the same values, and fuzz tests of the messages compare them.
//
// A message implements [Appender] and [Parser]. Its parser accepts no more than what its appender writes: no blanks,
// the fields in their order, none twice. Everything else it leaves to encoding/json, with all its rules and errors,
// so a body written by hand or by another program is read as if there were no parser.
package wire

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// Appender is a message that writes itself.
type Appender interface {
	// AppendJSON appends what json.Marshal returns.
	AppendJSON(b []byte) ([]byte, error)
}

// Parser is a pointer to a message that reads itself.
type Parser interface {
	// ParseJSON reads a body into the message, or returns false and changes nothing.
	ParseJSON(body []byte) bool
}

// Marshal is json.Marshal, faster for an Appender.
func Marshal(v any) ([]byte, error) {
	if a, ok := v.(Appender); ok {
		return a.AppendJSON(nil)
	}
	return json.Marshal(v)
}

// Parse reads a body into dst if dst is a Parser that accepts it. Else the caller uses encoding/json.
func Parse(body []byte, dst any) bool {
	p, ok := dst.(Parser)
	return ok && p.ParseJSON(body)
}

// AppendText appends a JSON string, after what stands before it.
func AppendText(b []byte, before, s string) []byte {
	b = append(b, before...)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			encoded, err := json.Marshal(s) // its rules for such characters are many
			if err != nil {
				panic(err) // a string can be encoded
			}
			return append(b, encoded...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// AppendInt appends a number, after what stands before it.
func AppendInt(b []byte, before string, n int64) []byte {
	return strconv.AppendInt(append(b, before...), n, 10)
}

// AppendValue appends a value as encoding/json writes it.
func AppendValue(b []byte, v any) ([]byte, error) {
	encoded, err := json.Marshal(v)
	return append(b, encoded...), err
}

// AppendArray appends an array of items, after what stands before it; null if items is nil.
func AppendArray[T any](b []byte, before string, items []T, element func(item T, b []byte) []byte) []byte {
	b = append(b, before...)
	if items == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, item := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = element(item, b)
	}
	return append(b, ']')
}

// Reader reads a body from its start. After something that it does not accept, it reads nothing more.
type Reader struct {
	rest   []byte
	failed bool
}

// NewReader returns a reader of body.
func NewReader(body []byte) *Reader { return &Reader{rest: body} }

// Done reports whether all of the body was read, and accepted.
func (r *Reader) Done() bool { return !r.failed && len(r.rest) == 0 }

func (r *Reader) fail() { r.failed, r.rest = true, nil }

// Has reports whether the body goes on with s, and reads it.
func (r *Reader) Has(s string) bool {
	if len(r.rest) < len(s) || string(r.rest[:len(s)]) != s {
		return false
	}
	r.rest = r.rest[len(s):]
	return true
}

// Want reads s.
func (r *Reader) Want(s string) {
	if !r.Has(s) {
		r.fail()
	}
}

// Text reads a string without escapes.
func (r *Reader) Text() string {
	r.Want(`"`)
	n := bytes.IndexByte(r.rest, '"')
	if n < 0 {
		r.fail()
		return ""
	}
	text := r.rest[:n]
	r.rest = r.rest[n+1:]
	ascii := true
	for _, c := range text {
		if c < ' ' || c == '\\' {
			r.fail()
			return ""
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if !ascii && !utf8.Valid(text) {
		r.fail()
		return ""
	}
	return string(text)
}

// maxDigits of a number are an int64 in any case.
const maxDigits = 18

// Int reads a whole number.
func (r *Reader) Int() int64 {
	n := 0
	for n < len(r.rest) && (r.rest[n] >= '0' && r.rest[n] <= '9' || n == 0 && r.rest[n] == '-') {
		n++
	}
	text := string(r.rest[:n])
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > maxDigits || strconv.FormatInt(number, 10) != text {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return number
}

// Array reads an array, and each element by element.
func (r *Reader) Array(element func()) {
	r.Want("[")
	for first := true; !r.failed && !r.Has("]"); first = false {
		if !first {
			r.Want(",")
		}
		element()
	}
}

// Object reads any object without unknown fields as encoding/json reads it into dst.
func (r *Reader) Object(dst any) {
	d := json.NewDecoder(bytes.NewReader(r.rest))
	d.DisallowUnknownFields()
	if len(r.rest) == 0 || r.rest[0] != '{' || d.Decode(dst) != nil {
		r.fail()
		return
	}
	r.rest = r.rest[d.InputOffset():]
}

// RestBefore reads all that is left, which must end with s, and returns what stands before s. It is not checked.
func (r *Reader) RestBefore(s string) (before []byte, ok bool) {
	before, ok = bytes.CutSuffix(r.rest, []byte(s))
	if !ok || r.failed {
		r.fail()
		return nil, false
	}
	r.rest = nil
	return before, true
}
