package rest

import (
	"errors"
	"net/http"

	"holdfast/pkg/config"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
)

// codeCredential is the fault of a service that does not accept our credential.
const codeCredential = "service_credential"

// authorize returns the function that sets the credential. It is a closure, so that printing a client does not show it.
func authorize(credential config.Secret) func(http.Header) {
	return func(h http.Header) {
		h.Del(header.Credential)
		if credential != "" {
			h.Set(header.Credential, credential.Reveal())
		}
	}
}

// credentialRefused turns the refusal of our credential into <name>_unavailable, which was not executed: the caller's
// own caller has nothing to do with it, and another replica may accept it while credentials are replaced.
func (c *Client) credentialRefused(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == codeCredential {
		return c.unavailable.NotExecuted().Wrap(f)
	}
	return err
}
