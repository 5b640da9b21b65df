package web

import (
	"crypto/sha256"
	"crypto/subtle"

	"github.com/gin-gonic/gin"

	"holdfast/pkg/config"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
)

// ErrServiceCredential is a call without an accepted service credential.
var ErrServiceCredential = fault.New(fault.Unauthenticated, "service_credential",
	"this service takes calls of other services only; "+header.Credential+" is missing or not accepted").NotExecuted()

// requireCredential refuses every request without one of the accepted values, before its body is read. The comparison
// takes the same time for each value, so an answer's time tells nothing about how much of a guess was right.
func requireCredential(accepted []config.Secret) gin.HandlerFunc {
	sums := make([][sha256.Size]byte, len(accepted))
	for i, a := range accepted {
		sums[i] = sha256.Sum256([]byte(a.Reveal()))
	}
	return func(c *gin.Context) {
		got := sha256.Sum256([]byte(c.GetHeader(header.Credential)))
		equal := 0
		for i := range sums {
			equal |= subtle.ConstantTimeCompare(sums[i][:], got[:])
		}
		if equal != 1 {
			Problem(c, ErrServiceCredential)
			return
		}
		c.Next()
	}
}
