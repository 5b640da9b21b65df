package server

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

const wholeHead = "POST /orders HTTP/1.1\r\nHost: shop\r\n"

func TestParseWhole(t *testing.T) {
	t.Parallel()
	line, id, ok := parseWhole([]byte(wholeHead + "x-request-id:  abc \r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\n{}"))
	if !ok || string(line) != "POST /orders HTTP/1.1" || string(id) != "abc" {
		t.Errorf("got %q %q %v", line, id, ok)
	}
	if _, _, ok := parseWhole([]byte("GET / HTTP/1.1\r\nHost: shop\r\n\r\n")); !ok {
		t.Error("a request without a body is not whole")
	}
}

// Each of these is one that another reader may delimit differently, or that is not one request.
func TestParseWhole_not(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"nothing":                  "",
		"a part of the head":       "POST /orders HTTP/1.1\r\nHost: shop\r\n",
		"a part of the body":       wholeHead + "Content-Length: 3\r\n\r\n{}",
		"more than the body":       wholeHead + "Content-Length: 1\r\n\r\n{}",
		"a body without length":    wholeHead + "\r\n{}",
		"an empty line before it":  "\r\n" + wholeHead + "\r\n",
		"two lengths":              wholeHead + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
		"a list of lengths":        wholeHead + "Content-Length: 2, 2\r\n\r\n{}",
		"a signed length":          wholeHead + "Content-Length: +2\r\n\r\n{}",
		"an empty length":          wholeHead + "Content-Length:\r\n\r\n",
		"a space before the colon": wholeHead + "Content-Length : 2\r\n\r\n",
		"a folded line":            wholeHead + "X: 1\r\n Content-Length: 2\r\n\r\n",
		"a line without a colon":   wholeHead + "X\r\n\r\n",
		"a bare line feed":         wholeHead + "X: 1\nContent-Length: 2\r\n\r\n",
		"a bare carriage return":   wholeHead + "X: 1\rContent-Length: 2\r\n\r\n",
		"a zero byte":              wholeHead + "X: \x00\r\n\r\n",
		"chunks":                   wholeHead + "Transfer-Encoding: chunked\r\n\r\n",
		"chunks and a length":      wholeHead + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
		"an expectation":           wholeHead + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
		"an upgrade":               wholeHead + "Upgrade: h2c\r\n\r\n",
		"the last of a connection": wholeHead + "Connection: close\r\n\r\n",
		"HTTP/1.0":                 "POST /orders HTTP/1.0\r\nHost: shop\r\n\r\n",
		"no host":                  "POST /orders HTTP/1.1\r\nX: 1\r\n\r\n",
		"two hosts":                wholeHead + "Host: other\r\n\r\n",
	} {
		if _, _, ok := parseWhole([]byte(request)); ok {
			t.Errorf("%s counts as a whole request: %q", name, request)
		}
	}
}

// FuzzParseWhole compares with net/http: what is whole here is one whole request there, and nothing is left.
func FuzzParseWhole(f *testing.F) {
	f.Add([]byte(wholeHead + "Content-Length: 2\r\n\r\n{}"))
	f.Add([]byte(wholeHead + "X-Request-Id: a\r\nConnection: keep-alive\r\n\r\n"))
	f.Add([]byte(wholeHead + "Content-Length : 2\r\n\r\n{}"))
	f.Add([]byte(wholeHead + "X: 1\n\r\n\r\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		line, id, ok := parseWhole(p)
		if !ok {
			return
		}
		r := bufio.NewReader(bytes.NewReader(p))
		req, err := http.ReadRequest(r)
		if err != nil {
			return // net/http refuses it and closes the connection
		}
		if got := req.Method + " " + req.RequestURI + " " + req.Proto; got != string(line) {
			t.Errorf("the line is %q, to net/http %q", line, got)
		}
		if got := req.Header.Get("X-Request-Id"); got != strings.TrimSpace(string(id)) {
			t.Errorf("the id is %q, to net/http %q", id, got)
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			t.Errorf("read the body: %v", err)
		}
		if n := r.Buffered(); n > 0 || req.Close {
			t.Errorf("%d bytes are left to net/http, closing %v", n, req.Close)
		}
	})
}
