// Package browser tests the pages that Holdfast writes in a real browser.
package browser_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/compare"
)

// TestComparePage opens the comparison's page. No script may fail, and the page must draw a curve for each kind of
// load and contain the tables. COMPARE_HTML names a page to open instead of the one made here. COMPARE_PNG names a
// file for a screenshot.
func TestComparePage(t *testing.T) {
	t.Parallel()
	page := os.Getenv("COMPARE_HTML")
	if page == "" {
		dir := t.TempDir()
		if err := sample().Write(dir); err != nil {
			t.Fatal(err)
		}
		page = filepath.Join(dir, "compare.html")
	}
	page, err := filepath.Abs(page)
	if err != nil {
		t.Fatal(err)
	}
	ctx := browser(t)
	var exceptions []string
	chromedp.ListenTarget(ctx, func(event any) {
		if e, ok := event.(*runtime.EventExceptionThrown); ok {
			exceptions = append(exceptions, e.ExceptionDetails.Error())
		}
	})
	var drawn, verdicts, ratios string
	var picture []byte
	err = chromedp.Run(ctx,
		chromedp.Navigate("file://"+page),
		chromedp.WaitReady(".uplot canvas", chromedp.ByQuery),
		chromedp.Evaluate("document.body.dataset.drawn", &drawn),
		chromedp.Text("#correctness", &verdicts, chromedp.ByQuery),
		chromedp.Text("#ratios", &ratios, chromedp.ByQuery),
		chromedp.FullScreenshot(&picture, 100),
	)
	if err != nil {
		t.Fatal(err)
	}
	if exceptions != nil {
		t.Errorf("the page's script failed: %v", exceptions)
	}
	if drawn != "3" {
		t.Errorf("%q charts are drawn, want throughput and latency against callers, and throughput against units", drawn)
	}
	if !strings.Contains(verdicts, "for-update") || !strings.Contains(verdicts, "held") {
		t.Errorf("the table of violations: %s", verdicts)
	}
	if !strings.Contains(ratios, "(1.00×)") {
		t.Errorf("the ratios: %s", ratios)
	}
	if file := os.Getenv("COMPARE_PNG"); file != "" {
		if err := os.WriteFile(file, picture, 0o600); err != nil {
			t.Error(err)
		}
	}
}

func sample() compare.Report {
	r := compare.Report{Preset: "sample", Strategies: []compare.Strategy{
		{Name: "naive", Layout: "row"}, {Name: "for-update", Layout: "row", Safe: true},
	}}
	shape := func(callers int, units int64) compare.Shape {
		return compare.Shape{Callers: callers, SKUs: 1, Replicas: 1, Loop: compare.Closed, Units: units}
	}
	for _, shape := range []compare.Shape{shape(1, 0), shape(64, 0), shape(1024, 0), shape(64, 10)} {
		callers := shape.Callers
		for i, s := range r.Strategies {
			r.Cells = append(r.Cells, compare.Cell{
				Strategy: s.Name, Shape: shape, Repetition: 1, Throughput: float64(100 * (i + callers)), P99: float64(callers),
			})
		}
	}
	return r
}

// browser starts a headless browser that ends with the test. Without a browser the test is skipped, except in CI.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := stack.RequireBrowser(t.Context(), t.Output())
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.DisableGPU,
		chromedp.NoSandbox, // only root can install it, and the page is our own
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1300, 1000))
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}
