package app_test

import (
	"strings"
	"testing"

	"holdfast/api-gateway/internal/app"
	"holdfast/pkg/config"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	own := strings.Repeat("s", 32)
	tests := []struct {
		name string
		vars map[string]string
		want []string // in the error; none: valid
	}{
		{"no setting at all", nil, []string{"JWT_SECRET: is required", "SERVICE_CREDENTIAL: is required"}},
		{"the demo", map[string]string{"DEMO_LOGIN": "true", "LAB_MODE": "true"}, nil},
		{"the demo's login alone", map[string]string{"DEMO_LOGIN": "true"}, []string{"SERVICE_CREDENTIAL: is required"}},
		{"the demo secret in earnest", map[string]string{"JWT_SECRET": "holdfast-demo-secret-change-me-0123456789"}, []string{"JWT_SECRET: is required"}},
		{"in earnest", map[string]string{"JWT_SECRET": own, "SERVICE_CREDENTIAL": strings.Repeat("c", 32)}, nil},
		{"all wrong", map[string]string{"JWT_SECRET": "short", "DEMO_LOGIN": "perhaps", "REQUEST_TIMEOUT": "soon"}, []string{
			"JWT_SECRET: needs at least 32 bytes", "DEMO_LOGIN:", "REQUEST_TIMEOUT:",
		}},
		{"timeout of an hour", map[string]string{"JWT_SECRET": own, "REQUEST_TIMEOUT": "1h"}, []string{"REQUEST_TIMEOUT: is 10ms to 1m"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var s app.Settings
			err := config.Load(func(name string) string { return tt.vars[name] }, &s)
			if (err != nil) != (len(tt.want) > 0) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q:\n%v", want, err)
				}
			}
		})
	}
}
