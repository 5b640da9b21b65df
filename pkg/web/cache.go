package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// maxCached bounds the answers that a cache holds. Beyond it answers are not kept: a client that invents queries must
// not fill the memory.
const maxCached = 1000

// Cached keeps the 200 answers of a route for ttl, by path and query, and gives them to all clients: the route's
// answers must not depend on the caller. Of the requests for an answer that is not there, one is handled, and the
// others wait for it. An answer has an ETag, and Age, the seconds since it was made; a request with that ETag gets 304.
// A request with Cache-Control: no-cache is handled.
func Cached(ttl time.Duration) gin.HandlerFunc {
	c := &cache{ttl: ttl, now: time.Now, answers: map[string]*cached{}}
	return c.handle
}

// cache is the answers of a route.
type cache struct {
	ttl time.Duration
	now func() time.Time

	mu      sync.Mutex
	answers map[string]*cached
}

// cached is an answer, or one that a request is being handled for.
type cached struct {
	made chan struct{} // closed when the request was handled
	ok   bool          // it has an answer to keep

	at          time.Time
	body        []byte
	contentType string
	etag        string
}

func (c *cache) handle(g *gin.Context) {
	key := g.Request.URL.RequestURI()
	fresh := strings.Contains(g.GetHeader("Cache-Control"), "no-cache")
	for {
		a, mine := c.find(key, fresh)
		if mine {
			c.make(g, a)
			return
		}
		if a == nil {
			g.Next()
			return
		}
		if !a.wait(g.Request.Context()) {
			Problem(g, g.Request.Context().Err())
			return
		}
		if a.ok {
			c.write(g, a)
			return
		}
		// The request that was handled failed, perhaps only because its client has gone.
	}
}

func (a *cached) wait(ctx context.Context) bool {
	select {
	case <-a.made:
		return true
	case <-ctx.Done():
		return false
	}
}

// find returns an answer, which may still be in the making, or one that the caller is to make. It returns nil when the
// caller is to answer without the cache.
func (c *cache) find(key string, fresh bool) (a *cached, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, known := c.answers[key]
	if known && !fresh && !c.expired(a) {
		return a, false
	}
	if !known && len(c.answers) >= maxCached {
		for k, old := range c.answers {
			if c.expired(old) {
				delete(c.answers, k)
			}
		}
		if len(c.answers) >= maxCached {
			return nil, false
		}
	}
	a = &cached{made: make(chan struct{})}
	c.answers[key] = a
	return a, true
}

// expired reports that an answer is not given any more. One in the making is not expired.
func (c *cache) expired(a *cached) bool {
	select {
	case <-a.made:
		return !a.ok || c.now().Sub(a.at) >= c.ttl
	default:
		return false
	}
}

// make handles the request and keeps its answer. One that fails is made again by the next request.
func (c *cache) make(g *gin.Context, a *cached) {
	w := &captured{ResponseWriter: g.Writer}
	a.at = c.now()
	defer func() { // also when the handler panics
		g.Writer = w.ResponseWriter
		close(a.made)
	}()
	g.Writer = w
	g.Next()
	g.Writer = w.ResponseWriter
	if w.Status() != http.StatusOK {
		_, _ = g.Writer.Write(w.body.Bytes()) // an error: the client has gone
		return
	}
	sum := sha256.Sum256(w.body.Bytes())
	a.body, a.contentType, a.etag, a.ok = w.body.Bytes(), w.Header().Get("Content-Type"), `"`+hex.EncodeToString(sum[:12])+`"`, true
	c.write(g, a)
}

// write answers with a kept answer.
func (c *cache) write(g *gin.Context, a *cached) {
	g.Abort() // the handlers behind the cache, which have run or are not needed
	h := g.Writer.Header()
	h.Set("ETag", a.etag)
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(c.ttl.Seconds())))
	h.Set("Age", strconv.Itoa(int(c.now().Sub(a.at).Seconds())))
	if strings.Contains(g.GetHeader("If-None-Match"), a.etag) {
		h.Del("Content-Type")
		g.Status(http.StatusNotModified)
		return
	}
	g.Data(http.StatusOK, a.contentType, a.body)
}

// captured keeps what a handler writes.
type captured struct {
	gin.ResponseWriter
	body bytes.Buffer
}

// Write implements io.Writer.
func (w *captured) Write(b []byte) (int, error) { return w.body.Write(b) }

// WriteString implements io.StringWriter.
func (w *captured) WriteString(s string) (int, error) { return w.body.WriteString(s) }

// WriteHeaderNow implements gin.ResponseWriter. The header is written with the body.
func (w *captured) WriteHeaderNow() {}
