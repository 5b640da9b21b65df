package gateway

import (
	"crypto/sha256"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/order-srv/orderapi"
)

const (
	issuer        = "holdfast"
	tokenLifetime = 24 * time.Hour

	// maxVerified is the number of valid tokens that are remembered, at some 300 bytes each.
	maxVerified = 10_000
)

// Caller is the user of a request.
type Caller struct {
	User string
	Role string // orderapi.RoleBuyer or orderapi.RoleAdmin
}

func (c Caller) validate() error {
	if err := orderapi.CheckUser(c.User); err != nil {
		return err
	}
	if c.Role != orderapi.RoleBuyer && c.Role != orderapi.RoleAdmin {
		return errInvalidRole
	}
	return nil
}

// Tokens issues and checks bearer tokens: JSON Web Tokens signed with HS256.
type Tokens struct {
	secret   []byte
	now      func() time.Time
	parser   *jwt.Parser
	verified *verified
}

// claims are a token's content; the user is the subject.
type claims struct {
	jwt.RegisteredClaims
	Role string `json:"role"`
}

// NewTokens returns Tokens that sign with secret and take the time from now.
func NewTokens(secret string, now func() time.Time) *Tokens {
	return &Tokens{
		secret:   []byte(secret),
		now:      now,
		verified: newVerified(maxVerified),
		parser: jwt.NewParser(
			// The token's own header must not choose how it is checked: that is how "alg: none" gets in.
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
			jwt.WithExpirationRequired(),
			jwt.WithIssuer(issuer),
			jwt.WithTimeFunc(now),
			jwt.WithStrictDecoding(),
		),
	}
}

// Issue returns a token for c that is valid for 24 hours. It returns the faults invalid_user and invalid_role.
func (t *Tokens) Issue(c Caller) (string, error) {
	if err := c.validate(); err != nil {
		return "", err
	}
	now := t.now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Subject: c.User, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(tokenLifetime)),
		},
		Role: c.Role,
	}).SignedString(t.secret)
}

// Verify returns the token's caller, or the fault unauthenticated. It checks a signature once: the token is remembered
// until it expires.
func (t *Tokens) Verify(token string) (Caller, error) {
	hash := tokenHash(sha256.Sum256([]byte(token)))
	if c, ok := t.verified.find(hash, t.now()); ok {
		return c, nil
	}
	c, expires, err := t.check(token)
	if err != nil {
		return Caller{}, err
	}
	t.verified.add(hash, verifiedCaller{c, expires})
	return c, nil
}

// check returns the token's caller and the time at which the token expires.
func (t *Tokens) check(token string) (Caller, time.Time, error) {
	var found claims
	_, err := t.parser.ParseWithClaims(token, &found, func(*jwt.Token) (any, error) { return t.secret, nil })
	if errors.Is(err, jwt.ErrTokenExpired) {
		return Caller{}, time.Time{}, errUnauthenticated.WithText("the token has expired").Wrap(err)
	}
	if err != nil {
		return Caller{}, time.Time{}, errUnauthenticated.Wrap(err)
	}
	c := Caller{User: found.Subject, Role: found.Role}
	if err := c.validate(); err != nil {
		return Caller{}, time.Time{}, errUnauthenticated.Wrap(err) // signed with our secret, and still wrong
	}
	return c, found.ExpiresAt.Time, nil // the parser requires an expiry
}
