package server_test

import (
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"holdfast/pkg/server"
)

// BenchmarkRun compares a request on a kept connection with net/http alone: what it costs that a connection waits in
// the lobby between two requests.
func BenchmarkRun(b *testing.B) {
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	plain := func(b *testing.B) string {
		b.Helper()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		s := &http.Server{Handler: ok}
		go func() { _ = s.Serve(ln) }()
		b.Cleanup(func() { _ = s.Close() })
		return "http://" + ln.Addr().String()
	}
	for name, url := range map[string]func(b *testing.B) string{
		"net/http": plain,
		"lobby":    func(b *testing.B) string { b.Helper(); return start(b, server.Config{Handler: ok}).url },
	} {
		for _, n := range []int{1, 64} {
			b.Run(name+"/"+map[int]string{1: "1 connection", 64: "64 connections"}[n], func(b *testing.B) {
				target := url(b)
				conns := make([]*connection, n)
				for i := range conns {
					conns[i] = connect(b, target)
				}
				b.ReportAllocs()
				b.ResetTimer()
				var running sync.WaitGroup
				for i, c := range conns {
					running.Go(func() {
						for range (b.N + n - 1 - i) / n {
							_, _ = c.get()
						}
					})
				}
				running.Wait()
			})
		}
	}
}
