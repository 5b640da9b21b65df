package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/pkg/config"
)

type service struct {
	HTTPAddr string `env:"HTTP_ADDR" envDefault:":8081"`
	Lab      bool   `env:"LAB_MODE"`
	config.ServiceCredential
}

func (s *service) Validate() error { return s.ResolveCredential(s.HTTPAddr, s.Lab) }

func TestServiceCredential(t *testing.T) {
	t.Parallel()
	one, two := strings.Repeat("1", 32), strings.Repeat("2", 33)
	demo := config.DemoServiceCredential
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "credential")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const off = "SERVICE_CREDENTIAL: is required"
	tests := []struct {
		name string
		vars map[string]string
		want []string // the accepted values
		err  string
	}{
		{"unset off loopback", map[string]string{}, nil, off},
		{"unset on every address", map[string]string{"HTTP_ADDR": "0.0.0.0:8081"}, nil, off},
		{"unset on another machine's address", map[string]string{"HTTP_ADDR": "10.0.0.1:8081"}, nil, off},
		{"unset on a name", map[string]string{"HTTP_ADDR": "localhost.example.com:8081"}, nil, off},
		{"no port", map[string]string{"HTTP_ADDR": "127.0.0.1"}, nil, off},
		{"unset in the lab", map[string]string{"LAB_MODE": "true"}, []string{demo}, ""},
		{"unset on loopback", map[string]string{"HTTP_ADDR": "127.0.0.1:8081"}, []string{demo}, ""},
		{"unset on loopback, IPv6", map[string]string{"HTTP_ADDR": "[::1]:8081"}, []string{demo}, ""},
		{"unset on localhost", map[string]string{"HTTP_ADDR": "localhost:0"}, []string{demo}, ""},
		{"the demo value by name", map[string]string{"SERVICE_CREDENTIAL": demo}, nil, off},
		{"the demo value as the second", map[string]string{"SERVICE_CREDENTIAL": one + "," + demo}, nil, off},
		{"one", map[string]string{"SERVICE_CREDENTIAL": one}, []string{one}, ""},
		{"two", map[string]string{"SERVICE_CREDENTIAL": one + ", " + two + ","}, []string{one, two}, ""},
		{"two lines", map[string]string{"SERVICE_CREDENTIAL": two + "\n" + one}, []string{two, one}, ""},
		{"three", map[string]string{"SERVICE_CREDENTIAL": one + "," + two + "," + one}, nil, "SERVICE_CREDENTIAL: has more than two values"},
		{"short", map[string]string{"SERVICE_CREDENTIAL": one + "," + one[1:]}, nil, "SERVICE_CREDENTIAL: each value needs at least 32 bytes"},
		{"with a space", map[string]string{"SERVICE_CREDENTIAL": one + " " + one}, nil, "SERVICE_CREDENTIAL: a value has a byte"},
		{"with an umlaut", map[string]string{"SERVICE_CREDENTIAL": one + "ü"}, nil, "SERVICE_CREDENTIAL: a value has a byte"},
		{"a file", map[string]string{"SERVICE_CREDENTIAL_FILE": file(one + "\r\n\n" + two + "\n")}, []string{one, two}, ""},
		{"a file with a short value", map[string]string{"SERVICE_CREDENTIAL_FILE": file("short")}, nil, "SERVICE_CREDENTIAL_FILE: each value"},
		{"an empty file in the lab", map[string]string{"SERVICE_CREDENTIAL_FILE": file("\n"), "LAB_MODE": "true"}, nil, "SERVICE_CREDENTIAL_FILE: the file is empty"},
		{"no file in the lab", map[string]string{"SERVICE_CREDENTIAL_FILE": "/nowhere", "LAB_MODE": "true"}, nil, "SERVICE_CREDENTIAL_FILE: "},
		{"both", map[string]string{"SERVICE_CREDENTIAL": one, "SERVICE_CREDENTIAL_FILE": file(two)}, nil, "set one of them"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var s service
			err := config.Load(func(name string) string { return tt.vars[name] }, &s)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				if strings.Contains(err.Error(), one[1:]) || strings.Contains(err.Error(), two) {
					t.Errorf("the error shows a value: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range s.AcceptedCredentials {
				got = append(got, v.Reveal())
			}
			if strings.Join(got, " ") != strings.Join(tt.want, " ") || s.SentCredential().Reveal() != tt.want[0] {
				t.Errorf("accepted %q, sent %q; want %q and the first", got, s.SentCredential().Reveal(), tt.want)
			}
			if shown := fmt.Sprintf("%v %+v", s, &s); strings.Contains(shown, tt.want[0]) {
				t.Errorf("the settings show a value: %s", shown)
			}
		})
	}
}
