package web

import (
	"time"

	"github.com/gin-gonic/gin"
)

// MaxWait is the longest time that a request may wait for a change, see [QueryWait].
const MaxWait = 30 * time.Second

// QueryWait returns the query parameter "wait": how long the caller wants to wait for a change before it gets an
// answer, 0 when it is absent. It returns the fault invalid_parameter unless it is a duration, such as 2s, of more than
// 0 and at most [MaxWait].
func QueryWait(c *gin.Context) (time.Duration, error) {
	text, ok := c.GetQuery("wait")
	if !ok {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > MaxWait {
		return 0, errInvalidParameter.With("parameter", "wait").WithText("wait is a duration of more than 0 and at most %v", MaxWait)
	}
	return d, nil
}
