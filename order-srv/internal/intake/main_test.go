package intake_test

import (
	"testing"

	"holdfast/order-srv/internal/ordertest"
)

type world struct {
	*ordertest.World
	t *testing.T
}

func newWorld(t *testing.T, answers ...ordertest.Answer) *world {
	t.Helper()
	return &world{ordertest.NewWorld(t, answers...), t}
}
