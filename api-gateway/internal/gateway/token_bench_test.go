package gateway_test

import (
	"fmt"
	"testing"
	"time"

	"holdfast/api-gateway/internal/gateway"
)

// BenchmarkTokens_Verify checks one token again and again, as requests of one client do, and then each of many tokens
// once, more than are remembered.
func BenchmarkTokens_Verify(b *testing.B) {
	for name, users := range map[string]int{"one token": 1, "new tokens": 40_000} {
		b.Run(name, func(b *testing.B) {
			tokens := gateway.NewTokens(secret, time.Now)
			issued := make([]string, users)
			for i := range issued {
				var err error
				if issued[i], err = tokens.Issue(gateway.Caller{User: fmt.Sprintf("buyer-%d", i), Role: "buyer"}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := tokens.Verify(issued[i%users]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
