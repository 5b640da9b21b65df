package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// watchEvery is the interval at which the operations ports are read. A reading costs a service about 2 ms of CPU.
const watchEvery = time.Second

// service is a watched service.
type service struct {
	name string
	ops  string
}

// figures are values from a service's metrics.
type figures struct {
	Memory     float64 `json:"memory_bytes"` // resident memory
	Goroutines float64 `json:"goroutines"`
	Checks     float64 `json:"checks"` // check-backs since the start
}

// watch records the highest figures of each service.
type watch struct {
	services []service
	client   *http.Client
	cancel   context.CancelFunc
	done     chan struct{}

	mu   sync.Mutex
	peak map[string]figures
}

// startWatch reads the operations ports until stop. Ports that do not answer, as under compose, are skipped.
func startWatch(ctx context.Context, ports []string) *watch {
	w := &watch{client: &http.Client{Timeout: 5 * time.Second}, done: make(chan struct{}), peak: map[string]figures{}}
	names := []string{"api-gateway", "order-srv", "inventory-srv"}
	for i, port := range ports {
		s := service{name: port, ops: port}
		if i < len(names) {
			s.name = names[i]
		}
		if _, err := w.look(ctx, s); err == nil {
			w.services = append(w.services, s)
		}
	}
	ctx, w.cancel = context.WithCancel(ctx)
	go w.run(ctx)
	return w
}

func (w *watch) run(ctx context.Context) {
	defer close(w.done)
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.now(ctx)
		}
	}
}

func (w *watch) stop() {
	w.cancel()
	<-w.done
	w.client.CloseIdleConnections()
}

// now reads all figures and returns them.
func (w *watch) now(ctx context.Context) map[string]figures {
	seen := map[string]figures{}
	for _, s := range w.services {
		f, err := w.look(ctx, s)
		if err != nil {
			continue // overloaded; the next reading may succeed
		}
		seen[s.name] = f
		w.mu.Lock()
		p := w.peak[s.name]
		w.peak[s.name] = figures{max(p.Memory, f.Memory), max(p.Goroutines, f.Goroutines), max(p.Checks, f.Checks)}
		w.mu.Unlock()
	}
	return seen
}

// peaks returns the highest figures since the last call.
func (w *watch) peaks() map[string]figures {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.peak
	w.peak = map[string]figures{}
	return p
}

func (w *watch) look(ctx context.Context, s service) (figures, error) {
	var f figures
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.ops+"/metrics", nil)
	if err != nil {
		return f, err
	}
	res, err := w.client.Do(req)
	if err != nil {
		return f, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return f, fmt.Errorf("%s: %s", s.ops, res.Status)
	}
	return f, f.read(res.Body)
}

// read reads the figures from Prometheus' text format.
func (f *figures) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		// A label's value may contain a space; these labels have none.
		name, _, _ = strings.Cut(name, "{")
		switch name {
		case "process_resident_memory_bytes", "go_goroutines", "mq_checks_total":
		default:
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		switch name {
		case "process_resident_memory_bytes":
			f.Memory = n
		case "go_goroutines":
			f.Goroutines = n
		case "mq_checks_total":
			f.Checks += n
		}
	}
	return lines.Err()
}
