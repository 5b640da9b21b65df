package lock

import "fmt"

// maxKey bounds a key. It is part of names in Redis, of each command and each wake-up, and of errors and logs: what is
// longer is a body that was mistaken for a name. No backend needs less.
const maxKey = 512

// checkKeys refuses what cannot name a lock; the error wraps ErrKeys and says what it was.
func checkKeys(keys []string) error {
	if len(keys) == 0 {
		return fmt.Errorf("%w: there is none", ErrKeys)
	}
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return err
		}
	}
	return nil
}

func checkKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: one is empty", ErrKeys)
	case len(key) > maxKey:
		return fmt.Errorf("%w: %q… has %d", ErrKeys, key[:20], len(key))
	}
	return nil
}
