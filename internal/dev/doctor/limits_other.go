//go:build !unix

package doctor

import "errors"

func space(string) (Space, error) { return Space{}, errors.ErrUnsupported }

func maxFiles() (uint64, error) { return 0, errors.ErrUnsupported }
