package web_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/pkg/admit"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

// BenchmarkEngine_Full is what a refusal by the engine costs, net/http included. The client allocates nothing.
func BenchmarkEngine_Full(b *testing.B) {
	limiter, _ := full(b)
	url := serve(b, web.EngineConfig{
		Log: telemetry.NewLogger(io.Discard, "bench"), Registry: prometheus.NewRegistry(), Timeout: time.Second,
		Refuser: web.NewRefuser(map[web.Route]*admit.Limiter{{Method: "POST", Pattern: "/v1/orders"}: limiter}),
	}, func(e *gin.Engine) {
		e.POST("/v1/orders", web.Handle(func(*gin.Context) (int, any, error) { return 201, nil, nil }))
	})
	const body = `{"items":[{"sku":"overload-1","quantity":1}]}`
	request := []byte("POST /v1/orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer " + strings.Repeat("x", 200) +
		"\r\nContent-Type: application/json\r\nIdempotency-Key: overload-open4452-1000-000001\r\nContent-Length: 45\r\n\r\n" + body)
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	answer := make([]byte, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		n, err := c.Read(answer)
		if err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 429")) {
			b.Fatalf("%v: %s", err, answer[:n])
		}
	}
}

// BenchmarkRefuser_Refuse is what a refusal costs before net/http, without the two system calls.
func BenchmarkRefuser_Refuse(b *testing.B) {
	limiter, _ := full(b)
	refuser := web.NewRefuser(map[web.Route]*admit.Limiter{{Method: "POST", Pattern: "/v1/orders"}: limiter})
	web.NewEngine(web.EngineConfig{Log: telemetry.NewLogger(io.Discard, "bench"), Registry: prometheus.NewRegistry(), Refuser: refuser})
	b.ReportAllocs()
	for b.Loop() {
		if refuser.Refuse([]byte("POST /v1/orders HTTP/1.1"), nil) == nil {
			b.Fatal("not refused")
		}
	}
}
