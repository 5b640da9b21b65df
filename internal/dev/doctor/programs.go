package doctor

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// The oldest versions that work. go.mod names the Go version.
const (
	minGo        = "1.26"
	minToolchain = "1.21" // fetches the Go version that go.mod names
)

var errMissing = errors.New("not found")

// ask returns what a program prints, or errMissing if it is not installed.
func (e *exam) ask(ctx context.Context, program string, args ...string) (string, error) {
	path, err := e.Look(program)
	if errors.Is(err, exec.ErrNotFound) {
		return "", errMissing
	}
	if err != nil {
		return "", err
	}
	return e.Output(ctx, path, args...)
}

// version returns the first version number in a text, such as 1.26.0 or else 17, or "". A server may first print
// warnings with a date.
func version(text string) string {
	if v := regexp.MustCompile(`[0-9]+(\.[0-9]+)+`).FindString(text); v != "" {
		return v
	}
	return regexp.MustCompile(`[0-9]+`).FindString(text)
}

// atLeast compares version numbers part by part. A missing part counts as 0.
func atLeast(version, least string) bool {
	have, want := strings.Split(version, "."), strings.Split(least, ".")
	for i := range want {
		h := 0
		if i < len(have) {
			h, _ = strconv.Atoi(have[i]) // digits only, see version
		}
		w, _ := strconv.Atoi(want[i])
		if h != w {
			return h > w
		}
	}
	return true
}

func checkSystem(_ context.Context, e *exam) []Finding {
	found := fmt.Sprintf("%s/%s, %d CPUs", e.OS, runtime.GOARCH, e.CPUs)
	if kernel := file(e.Proc, "sys/kernel/osrelease"); kernel != "" {
		found += ", kernel " + kernel
	}
	if e.Container {
		found += ", in a container, whose ports and memory are examined"
	}
	switch {
	case e.OS == "windows":
		return []Finding{{
			Level: Problem, Way: Native, Found: found,
			Advice: "plain processes need Linux or macOS: use Docker Desktop, or WSL 2, see docs/running.md",
		}}
	case e.wsl() && strings.HasPrefix(e.Dir, "/mnt/"):
		return []Finding{{
			Level: Warning, Found: found + ", WSL; the folder " + e.Dir + " is on a Windows drive, which is slow",
			Advice: "clone Holdfast into a folder of Linux, such as ~/holdfast",
		}}
	case e.wsl():
		found += ", WSL"
	}
	return []Finding{{Level: OK, Found: found}}
}

func (e *exam) wsl() bool {
	return strings.Contains(strings.ToLower(file(e.Proc, "sys/kernel/osrelease")), "microsoft")
}

// checkGo: Go compiles the programs. Those that exist run without it, and the images bring their own.
func checkGo(ctx context.Context, e *exam) []Finding {
	text, err := e.ask(ctx, "go", "version")
	if err != nil {
		return []Finding{{
			Level: Warning, Found: "go: " + err.Error(),
			Advice: "make needs Go " + minGo + " (https://go.dev/dl/); docker compose up --build --wait does not",
		}}
	}
	settings, err := e.ask(ctx, "go", "env", "GOPROXY", "GOFLAGS")
	if err != nil {
		settings = ""
	}
	proxy, flags, _ := strings.Cut(settings, "\n")
	found := Finding{Level: OK, Found: "go " + version(text) + ", GOPROXY=" + redact(proxy)}
	switch v := version(text); {
	case !atLeast(v, minToolchain):
		found.Level, found.Advice = Problem, "install Go "+minGo+" or newer: https://go.dev/dl/"
	case proxy == "off":
		found.Level, found.Advice = Warning, "modules that are not in the cache cannot be fetched: go env -u GOPROXY"
	case strings.Contains(flags, "-mod="):
		found.Level, found.Found = Warning, found.Found+", GOFLAGS="+flags
		found.Advice = "Holdfast has no vendor folder and a complete go.mod: remove -mod from GOFLAGS"
	case !atLeast(v, minGo):
		found.Level, found.Advice = Warning, "the first build fetches Go "+minGo+" through GOPROXY, unless GOTOOLCHAIN=local is set"
	}
	return []Finding{found}
}
