package gateway

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"holdfast/pkg/web"
)

// callerKey is where authenticate leaves the Caller in the gin context.
const callerKey = "caller"

// authenticate lets only requests with a valid bearer token through.
func (g *gateway) authenticate(c *gin.Context) {
	scheme, token, _ := strings.Cut(c.GetHeader("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		web.Problem(c, errUnauthenticated)
		return
	}
	caller, err := g.tokens.Verify(token)
	if err != nil {
		web.Problem(c, err)
		return
	}
	c.Set(callerKey, caller)
}

// requireRole lets only callers of that role through. It stands behind authenticate.
func (g *gateway) requireRole(role string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if callerOf(c).Role != role {
			web.Problem(c, errForbidden)
		}
	}
}

// callerOf returns the caller that authenticate has identified. It panics in a handler without authenticate.
func callerOf(c *gin.Context) Caller { return c.MustGet(callerKey).(Caller) }

type loginRequest struct {
	User string `json:"user"`
	Role string `json:"role"`
}

type loginResponse struct {
	Token string `json:"token"`
}

// login issues a token for any name and role. It exists for demonstrations only.
func (g *gateway) login(c *gin.Context) (int, any, error) {
	var in loginRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	token, err := g.tokens.Issue(Caller(in))
	return http.StatusOK, loginResponse{token}, err
}
