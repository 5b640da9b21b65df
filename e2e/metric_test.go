package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/dev/testkit"
)

// metric returns the sum of a process's counters of a name over all label sets that contain the given labels, each in
// the form of the metrics page: status="PLACED". A counter that was never used is 0.
func (sh *shop) metric(s *service, name string, labels ...string) int {
	sh.tb.Helper()
	var page string
	testkit.Eventually(sh.tb, 10*time.Second, s.name+" shows its metrics", func() error {
		res, err := sh.client.Get("http://" + s.ops + "/metrics")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d", res.StatusCode)
		}
		page = string(b)
		return err
	})
	sum := 0.0
next:
	for line := range strings.Lines(page) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if base, _, _ := strings.Cut(series, "{"); !ok || base != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue next
			}
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			sh.tb.Fatalf("%s: metric %q: %v", s.name, line, err)
		}
		sum += n
	}
	return int(sum)
}

// total returns the sum of metric over several processes.
func (sh *shop) total(services []*service, name string, labels ...string) (n int) {
	sh.tb.Helper()
	for _, s := range services {
		n += sh.metric(s, name, labels...)
	}
	return n
}

// holdfast runs the command line against this shop's first gateway and requires exit status 0.
func (sh *shop) holdfast(args ...string) string {
	sh.tb.Helper()
	dir, err := ordinary.build()
	if err != nil {
		sh.tb.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "holdfast"), append([]string{"--url", "http://" + sh.gateway.http}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		sh.tb.Fatalf("holdfast %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
