package order

import "regexp"

var (
	userPattern   = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`) // harmless in headers, log lines and index keys
	keyPattern    = regexp.MustCompile(`^[!-~]{1,255}$`)          // visible ASCII
	numberPattern = regexp.MustCompile(`^[0-9A-Z]{1,26}$`)
)

// CheckUser returns ErrInvalidUser for what cannot be a user's name.
func CheckUser(id string) error {
	if !userPattern.MatchString(id) {
		return ErrInvalidUser
	}
	return nil
}

// CheckKey returns ErrMissingKey or ErrInvalidKey for what cannot be an idempotency key.
func CheckKey(key string) error {
	switch {
	case key == "":
		return ErrMissingKey
	case !keyPattern.MatchString(key):
		return ErrInvalidKey
	}
	return nil
}

// CheckNumber returns ErrNotFound for what cannot be an order number.
func CheckNumber(orderNo string) error {
	if !numberPattern.MatchString(orderNo) {
		return ErrNotFound
	}
	return nil
}
