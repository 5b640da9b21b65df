package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/web"
)

// Audits runs audits as jobs.
type Audits interface {
	Request(ctx context.Context, everything bool) (orderapi.AuditJob, error)
	Get(ctx context.Context, id string) (orderapi.AuditJob, error)
	Wait(ctx context.Context, id string) (orderapi.Audit, error)
}

var errForbidden = fault.New(fault.Forbidden, "forbidden", "only an administrator may do this")

// answerTime is what remains of a request's time after the waiting for an audit or an order.
const answerTime = 200 * time.Millisecond

// audit requests an audit and waits for it. The audit goes on when the caller hangs up or its time ends.
func (a *api) audit(c *gin.Context) (int, any, error) {
	if err := admin(c); err != nil {
		return 0, nil, err
	}
	ctx := c.Request.Context()
	job, err := a.Audits.Request(ctx, false)
	if err != nil {
		return 0, nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-answerTime))
		defer cancel()
	}
	report, err := a.Audits.Wait(ctx, job.ID)
	return http.StatusOK, report, err
}

func (a *api) requestAudit(c *gin.Context) (int, any, error) {
	if err := admin(c); err != nil {
		return 0, nil, err
	}
	var in orderapi.AuditRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	job, err := a.Audits.Request(c.Request.Context(), in.Full)
	if err != nil {
		return 0, nil, err
	}
	c.Header("Location", "/v1/audits/"+job.ID)
	return http.StatusAccepted, job, nil
}

func (a *api) auditJob(c *gin.Context) (int, any, error) {
	if err := admin(c); err != nil {
		return 0, nil, err
	}
	job, err := a.Audits.Get(c.Request.Context(), c.Param("id"))
	return http.StatusOK, job, err
}
