package httpapi

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/web"
)

const defaultParked = 100

var errInvalidLimit = fault.New(fault.Invalid, "invalid_parameter", "limit is 1 to 1,000").With("parameter", "limit")

func (a *api) outbox(c *gin.Context) (int, any, error) {
	limit, err := web.QueryInt(c, "limit", defaultParked, 1, inventoryapi.MaxParked)
	if err != nil {
		return 0, nil, err
	}
	unsent, oldest, err := a.store.Outbox().State(c.Request.Context())
	if err != nil {
		return 0, nil, err
	}
	parked, err := a.store.Outbox().Parked(c.Request.Context(), limit)
	if err != nil {
		return 0, nil, err
	}
	out := inventoryapi.Outbox{Unsent: unsent, OldestMS: oldest.Milliseconds(), Parked: make([]inventoryapi.ParkedMessage, len(parked))}
	for i, p := range parked {
		out.Parked[i] = inventoryapi.ParkedMessage{
			EventID: p.EventID, Topic: p.Topic, Key: p.ShardKey, Body: p.Payload, Attempts: p.Attempts, Failure: p.Failure, ParkedAt: p.ParkedAt,
		}
	}
	return http.StatusOK, out, nil
}

func (a *api) resendParked(c *gin.Context) (int, any, error) {
	var in inventoryapi.ResendRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	if in.Limit < 1 || in.Limit > inventoryapi.MaxParked {
		return 0, nil, errInvalidLimit
	}
	n, err := a.store.Outbox().ResendParked(c.Request.Context(), in.Limit)
	return http.StatusOK, inventoryapi.ResendResponse{Resent: n}, err
}
