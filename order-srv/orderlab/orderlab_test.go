package orderlab_test

import (
	"strings"
	"testing"

	"holdfast/order-srv/orderlab"
)

// TestServe_Settings: settings that do not fit are refused as the service's program refuses them.
func TestServe_Settings(t *testing.T) {
	t.Parallel()
	err := orderlab.Serve(t.Context(), orderlab.Config{Settings: map[string]string{"REQUEST_TIMEOUT": "3s", "PENDING_GRACE": "2s"}})
	if err == nil || !strings.Contains(err.Error(), "PENDING_GRACE") {
		t.Errorf("serve = %v, want a fault of PENDING_GRACE", err)
	}
}
