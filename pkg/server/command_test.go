package server_test

import (
	"strings"
	"testing"

	"holdfast/pkg/server"
)

func TestCommand(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want string
	}{{nil, "serve"}, {[]string{"serve"}, "serve"}, {[]string{"migrate"}, "migrate"}} {
		if got, err := server.Command(tt.args, "migrate", "seed"); err != nil || got != tt.want {
			t.Errorf("Command(%q) = %q, %v; want %q", tt.args, got, err, tt.want)
		}
	}
	for _, args := range [][]string{{"migrte"}, {"migrate", "seed"}} {
		_, err := server.Command(args, "migrate", "seed")
		if err == nil || !strings.Contains(err.Error(), "serve, migrate, seed") {
			t.Errorf("Command(%q): error %v does not list the commands", args, err)
		}
	}
}
