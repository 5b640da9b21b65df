package flow_test

import (
	"testing"
	"time"

	"holdfast/internal/dev/dbtest"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/sql"
)

type world struct {
	*ordertest.World
	t *testing.T
}

func newWorld(t *testing.T, answers ...ordertest.Answer) *world {
	t.Helper()
	return &world{ordertest.NewWorld(t, answers...), t}
}

// newSlowWorld is a world in which a request has more time.
func newSlowWorld(t *testing.T, timeout time.Duration, answers ...ordertest.Answer) *world {
	t.Helper()
	return &world{ordertest.NewWorldOn(t, dbtest.NewDSN(t, sql.Orders()), answers, ordertest.Timeout(timeout)), t}
}
