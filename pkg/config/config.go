// Package config reads a service's settings from environment variables into a struct, once, in main.
//
// Names and defaults are in struct tags (`env:"HTTP_ADDR" envDefault:":8081"`), durations carry their unit ("1500ms"),
// lists are separated by commas. All faults are reported at
// once: with three wrong variables, one start shows all three.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Secret is a setting that must never be printed: fmt, slog and JSON all show "***".
type Secret string

// String hides the value.
func (Secret) String() string { return "***" }

// GoString hides the value from %#v.
func (Secret) GoString() string { return "***" }

// LogValue hides the value from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue("***") }

// MarshalText hides the value from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// UnmarshalText takes the value as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}

// Reveal returns the value itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// Validator is a configuration that checks itself. Validate returns all faults, joined with errors.Join; each names
// its variable and, where there is a choice, the allowed values.
type Validator interface{ Validate() error }

// Load fills dst, a pointer to a struct, from getenv and then validates it if it is a [Validator]. An unset variable
// gets its default; one that is set to the empty string counts as unset.
func Load(getenv func(string) string, dst any) error {
	params, err := env.GetFieldParams(dst)
	if err != nil {
		return fmt.Errorf("read the configuration's tags: %w", err)
	}
	vars := make(map[string]string, len(params))
	for _, p := range params {
		if v := getenv(p.Key); v != "" {
			vars[p.Key] = v
		}
	}
	var faults []error
	if err := env.ParseWithOptions(dst, env.Options{Environment: vars}); err != nil {
		faults = append(faults, describe(params, err)...)
	}
	if v, ok := dst.(Validator); ok {
		if err := v.Validate(); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// describe names the variable of each fault, which the library's own message (the Go field) does not.
func describe(params []env.FieldParams, err error) []error {
	aggregate, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range aggregate.Errors {
		if p, ok := errors.AsType[env.ParseError](e); ok {
			out = append(out, fmt.Errorf("%s: %w", keyOf(params, p.Name), p.Err))
			continue
		}
		out = append(out, e)
	}
	return out
}

// keyOf finds the variable whose name, without underscores, is the field's name. Fields are named after their
// variables.
func keyOf(params []env.FieldParams, field string) string {
	for _, p := range params {
		if strings.EqualFold(strings.ReplaceAll(p.Key, "_", ""), field) {
			return p.Key
		}
	}
	return field
}

// OneOf checks that value is one of allowed and names the variable and the choice if it is not.
func OneOf(variable, value string, allowed []string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is not one of %s", variable, value, strings.Join(allowed, ", "))
}

// Addresses checks that there is at least one address, that each is host:port, and that none is there twice: a repeated
// one is no second server. A comma at the end of a list makes an empty one.
func Addresses(variable string, addrs []string) error {
	if len(addrs) == 0 {
		return fmt.Errorf("%s: needs at least one host:port", variable)
	}
	for i, addr := range addrs {
		host, port, err := net.SplitHostPort(addr)
		number, notNumber := strconv.ParseUint(port, 10, 16)
		if err != nil || notNumber != nil || number == 0 || host == "" || strings.ContainsAny(addr, " \t") {
			return fmt.Errorf("%s: %q is not host:port", variable, addr)
		}
		if slices.Contains(addrs[:i], addr) {
			return fmt.Errorf("%s: %s is there twice", variable, addr)
		}
	}
	return nil
}

// Check returns an error that names the variable unless ok.
func Check(ok bool, variable, want string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%s: %s", variable, want)
}
