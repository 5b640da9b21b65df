package httpapi

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/web"
)

const (
	defaultLetters = 100
	maxLetters     = 1000
)

// DeadLetters lists the messages that were given up, and has them sent again.
type DeadLetters interface {
	List(ctx context.Context, limit int) ([]orderapi.DeadLetter, error)
	Resend(ctx context.Context, source string, limit int) (int, error)
}

func (a *api) deadLetters(c *gin.Context) (int, any, error) {
	if err := admin(c); err != nil {
		return 0, nil, err
	}
	limit, err := web.QueryInt(c, "limit", defaultLetters, 1, maxLetters)
	if err != nil {
		return 0, nil, err
	}
	found, err := a.DeadLetters.List(c.Request.Context(), limit)
	return http.StatusOK, orderapi.DeadLetters{DeadLetters: found}, err
}

func (a *api) resend(c *gin.Context) (int, any, error) {
	if err := admin(c); err != nil {
		return 0, nil, err
	}
	var r orderapi.ResendRequest
	if err := web.Decode(c, &r); err != nil {
		return 0, nil, err
	}
	if r.Limit == 0 {
		r.Limit = defaultLetters
	}
	if r.Limit < 0 || r.Limit > maxLetters {
		return 0, nil, errInvalidLimit
	}
	n, err := a.DeadLetters.Resend(c.Request.Context(), r.Source, r.Limit)
	return http.StatusOK, orderapi.ResendResponse{Resent: n}, err
}

var errInvalidLimit = fault.New(fault.Invalid, "invalid_parameter", "limit is 1 to 1,000").With("parameter", "limit")

// admin returns errForbidden unless the request is an administrator's.
func admin(c *gin.Context) error {
	if c.GetHeader(header.UserRole) != orderapi.RoleAdmin {
		return errForbidden
	}
	return nil
}
