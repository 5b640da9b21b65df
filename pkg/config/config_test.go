package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/pkg/config"
)

type settings struct {
	HTTPAddr string        `env:"HTTP_ADDR" envDefault:":8081"`
	Grace    time.Duration `env:"GRACE" envDefault:"10s"`
	Workers  int           `env:"WORKERS" envDefault:"4"`
	URLs     []string      `env:"URLS" envDefault:"http://a,http://b"`
	Flow     string        `env:"FLOW" envDefault:"tx-message"`
	Key      config.Secret `env:"KEY"`
}

func (s *settings) Validate() error {
	return errors.Join(
		config.OneOf("FLOW", s.Flow, []string{"tx-message", "outbox"}),
		config.Check(s.Key != "", "KEY", "is required"),
	)
}

func getenv(vars map[string]string) func(string) string {
	return func(k string) string { return vars[k] }
}

func TestLoad_defaults(t *testing.T) {
	t.Parallel()
	var s settings
	if err := config.Load(getenv(map[string]string{"KEY": "hush", "GRACE": "", "WORKERS": "8"}), &s); err != nil {
		t.Fatal(err)
	}
	if s.HTTPAddr != ":8081" || s.Grace != 10*time.Second || s.Workers != 8 || len(s.URLs) != 2 || s.Key.Reveal() != "hush" {
		t.Errorf("got %+v", s)
	}
}

func TestLoad_allFaultsAtOnce(t *testing.T) {
	t.Parallel()
	var s settings
	err := config.Load(getenv(map[string]string{"GRACE": "ten", "WORKERS": "many", "FLOW": "magic"}), &s)
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"GRACE:", "WORKERS:", `FLOW: "magic" is not one of tx-message, outbox`, "KEY: is required"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, right := range [][]string{{"127.0.0.1:6379"}, {"redis:1", "redis:2", "[::1]:65535"}} {
		if err := config.Addresses("REDIS_ADDRS", right); err != nil {
			t.Errorf("%q: %v", right, err)
		}
	}
	for want, wrong := range map[string][]string{
		"at least one":       nil,
		`"" is not`:          {"a:1", ""},
		`" b:2" is not`:      {"a:1", " b:2"},
		`"a" is not`:         {"a"},
		`":1" is not`:        {":1"},
		`"a:0" is not`:       {"a:0"},
		`"a:65536" is not`:   {"a:65536"},
		`"a:redis" is not`:   {"a:redis"},
		"a:1 is there twice": {"a:1", "b:1", "a:1"},
	} {
		err := config.Addresses("REDIS_ADDRS", wrong)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "REDIS_ADDRS: ") {
			t.Errorf("%q: error %v, want one with %s", wrong, err, want)
		}
	}
}

func TestSecret_neverPrinted(t *testing.T) {
	t.Parallel()
	s := settings{Key: "hush"}
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%v", s.Key), s.Key.LogValue().String(), string(encoded)} {
		if strings.Contains(printed, "hush") {
			t.Errorf("printed %q", printed)
		}
	}
}
