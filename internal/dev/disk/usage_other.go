//go:build !unix

package disk

import "errors"

func usage(string) (Usage, error) { return Usage{}, errors.ErrUnsupported }
