package server

import (
	"bytes"
	"strconv"
)

// Refuse may answer a request that net/http has not read. line is the request line without its end, id the value of
// X-Request-Id. It returns the whole answer, which must be a refusal that depends on nothing else and keeps the
// connection open, or nil: then the request goes its usual way.
type Refuse func(line, id []byte) []byte

// parseWhole is for requests that are answered before net/http has read them. The danger of a second reader on a
// connection is that it and net/http disagree about where a request begins: what one of them takes for a body is a
// request to the other, and behind a proxy the answers of two users change places. So it only accepts what can be
// delimited without doubt, a whole request that arrived together.
//
// It returns the request line and X-Request-Id of p if p is exactly one request of HTTP/1.1 with a body of
// known length, which keeps its connection open. Whatever is unusual is not whole.
func parseWhole(p []byte) (line, id []byte, ok bool) {
	head, body, found := bytes.Cut(p, []byte("\r\n\r\n"))
	if !found {
		return nil, nil, false
	}
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasSuffix(line, []byte(" HTTP/1.1")) || !plain(line) {
		return nil, nil, false
	}
	hosts, length := 0, -1
	for len(fields) > 0 {
		var field []byte
		field, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, found := bytes.Cut(field, []byte(":"))
		if !found || !isToken(name) || !plain(value) {
			return nil, nil, false
		}
		value = bytes.Trim(value, " \t")
		switch {
		case is(name, "host"):
			hosts++
		case is(name, "content-length"):
			n, err := strconv.ParseUint(string(value), 10, 31)
			if err != nil || length >= 0 {
				return nil, nil, false
			}
			length = int(n)
		case is(name, "connection"):
			if !is(value, "keep-alive") {
				return nil, nil, false
			}
		case is(name, "transfer-encoding"), is(name, "expect"), is(name, "upgrade"), is(name, "trailer"):
			return nil, nil, false
		case is(name, "x-request-id") && id == nil:
			id = value
		}
	}
	return line, id, hosts == 1 && len(body) == max(0, length)
}

// is compares without regard to case. name is in lower case.
func is(b []byte, name string) bool { return len(b) == len(name) && bytes.EqualFold(b, []byte(name)) }

// plain reports whether b has no control characters but tabs: a bare line feed is the end of a line to some readers.
func plain(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isToken reports whether b is a field name. A name with a space before its colon, or a folded line, is not.
func isToken(b []byte) bool {
	for _, c := range b {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return len(b) > 0
}
