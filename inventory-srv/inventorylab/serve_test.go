package inventorylab_test

import (
	"strings"
	"testing"

	"holdfast/inventory-srv/inventorylab"
)

// TestServe_Settings: settings that do not fit are refused as the service's program refuses them.
func TestServe_Settings(t *testing.T) {
	t.Parallel()
	err := inventorylab.Serve(t.Context(), inventorylab.ServiceConfig{Settings: map[string]string{"STOCK_STRATEGY": "none"}})
	if err == nil || !strings.Contains(err.Error(), "STOCK_STRATEGY") {
		t.Errorf("serve = %v, want a fault of STOCK_STRATEGY", err)
	}
}
