package app_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/deploy/rocketmq"
	"holdfast/internal/dev/stack"
	"holdfast/order-srv/internal/app"
	"holdfast/pkg/config"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	load := func(env map[string]string) (app.Settings, error) {
		var s app.Settings
		err := config.Load(func(name string) string {
			if name == "LAB_MODE" { // for the demo credential
				return "true"
			}
			return env[name]
		}, &s)
		return s, err
	}
	if s, err := load(nil); err != nil || s.HTTPAddr != ":8081" || s.PendingGrace != 10*time.Second || s.SettleAfter != 2*time.Second {
		t.Errorf("defaults: %+v, error %v", s, err)
	}
	for _, never := range []string{"off", "0", "0s"} {
		if s, err := load(map[string]string{"RETENTION": never}); err != nil || s.Retention != 0 {
			t.Errorf("RETENTION=%s: %v, error %v", never, s.Retention, err)
		}
	}
	tests := []struct {
		env  map[string]string
		want []string // variables that the error names
	}{
		{map[string]string{"ORDER_FLOW": "magic"}, []string{"ORDER_FLOW", "tx-message"}},
		{map[string]string{"NAMESRV_ADDRS": "a:1,"}, []string{"NAMESRV_ADDRS"}},
		{map[string]string{"PENDING_GRACE": "4s"}, []string{"PENDING_GRACE"}},
		{map[string]string{"PENDING_GRACE": "13s"}, []string{"BROKER_TRANSACTION_TIMEOUT"}},
		{map[string]string{"BROKER_CHECK_INTERVAL": "0s"}, []string{"BROKER_CHECK_INTERVAL"}},
		{map[string]string{"SWEEP_AFTER": "10s"}, []string{"SWEEP_AFTER"}},
		{map[string]string{"RECONCILE_AFTER": "30s"}, []string{"RECONCILE_AFTER"}},
		{map[string]string{"QUEUE_TIMEOUT": "9s"}, []string{"QUEUE_TIMEOUT"}},
		{map[string]string{"QUEUE_MAX": "0"}, []string{"QUEUE_MAX"}},
		{map[string]string{"SETTLE_AFTER": "0s"}, []string{"SETTLE_AFTER"}},
		{map[string]string{"RETENTION": "167h"}, []string{"RETENTION"}},
		{map[string]string{"NOTIFY_DELAYS": "1s,soon"}, []string{"NOTIFY_DELAYS"}},
		{map[string]string{"NOTIFY_DELAYS": "0"}, []string{"NOTIFY_DELAYS"}},
		{map[string]string{"WEBHOOK_ALLOW": "127.0.0.0/8,loopback"}, []string{"WEBHOOK_ALLOW", "loopback"}},
		{map[string]string{"RETENTION": "90d"}, []string{"RETENTION"}},
		{map[string]string{"PAYMENT_TIMEOUT": "73h"}, []string{"PAYMENT_TIMEOUT"}},
		{map[string]string{"PAYMENT_TIMEOUT": "4s"}, []string{"PAYMENT_TIMEOUT", "REQUEST_TIMEOUT"}}, // that is 4 s
		{map[string]string{"REQUEST_TIMEOUT": "soon", "PAYMENT_TIMEOUT": "-1s"}, []string{"REQUEST_TIMEOUT", "PAYMENT_TIMEOUT"}},
	}
	for _, tt := range tests {
		_, err := load(tt.env)
		for _, name := range tt.want {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%v: error %v does not name %s", tt.env, err, name)
			}
		}
	}
}

// TestSettings_broker: what this service assumes of the broker is what the broker is set to.
func TestSettings_broker(t *testing.T) {
	t.Parallel()
	var s app.Settings
	lab := map[string]string{"LAB_MODE": "true"} // for the demo credential
	if err := config.Load(func(name string) string { return lab[name] }, &s); err != nil {
		t.Fatal(err)
	}
	dev := stack.DevBrokerOptions("", nil)
	for name, durations := range map[string][2]time.Duration{
		"transactionTimeOut":       {s.BrokerTransactionTimeout, dev.TransactionTimeout},
		"transactionCheckInterval": {s.BrokerCheckInterval, dev.CheckInterval},
	} {
		line := fmt.Sprintf("%s=%d", name, durations[0].Milliseconds())
		if !slices.Contains(strings.Split(rocketmq.BrokerConf, "\n"), line) {
			t.Errorf("broker.conf does not say %s, which is this service's default", line)
		}
		if durations[0] != durations[1] {
			t.Errorf("%s is %v for the development broker and %v for this service", name, durations[1], durations[0])
		}
	}
}
