package mq_test

import (
	"testing"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/mq/mqtest"
)

func TestConformance(t *testing.T) {
	mqtest.Run(t, func(tb testing.TB, private bool) mqtest.Env {
		if private {
			r := stacktest.OwnRocketMQ(tb)
			return mqtest.Env{Namesrv: r.NamesrvAddr, Kill: r.Kill, Restart: r.Restart, LoseStore: r.RestartEmpty}
		}
		return mqtest.Env{Namesrv: stacktest.RocketMQ(tb)}
	}, nil)
}
