package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
)

// DemoServiceCredential is public. It is the default, so that a first start needs no setting, and it is refused where
// other machines can reach the service.
const DemoServiceCredential = "holdfast-demo-service-credential-change-me"

const (
	minCredential  = 32 // bytes
	maxCredentials = 2
)

// ServiceCredential is the setting by which services recognise each other's calls. It is embedded in the settings of
// each service, whose Validate calls ResolveCredential.
type ServiceCredential struct {
	Credential     Secret `env:"SERVICE_CREDENTIAL"`      // one or two values, separated by a comma or a line break
	CredentialFile string `env:"SERVICE_CREDENTIAL_FILE"` // the same in a file; default none

	// AcceptedCredentials are the values after ResolveCredential, one or two. The first is the one to send.
	AcceptedCredentials []Secret
}

// SentCredential returns the value to send.
func (c *ServiceCredential) SentCredential() Secret { return c.AcceptedCredentials[0] }

// ResolveCredential reads and checks the values. Without any it is [DemoServiceCredential], which works only in lab
// mode or when addr, the address on which the service listens, is a loopback address.
func (c *ServiceCredential) ResolveCredential(addr string, lab bool) error {
	text := c.Credential.Reveal()
	if c.CredentialFile != "" {
		if text != "" {
			return errors.New("SERVICE_CREDENTIAL: is set beside SERVICE_CREDENTIAL_FILE; set one of them")
		}
		content, err := os.ReadFile(c.CredentialFile)
		if err != nil {
			return fmt.Errorf("SERVICE_CREDENTIAL_FILE: %w", err)
		}
		if text = string(content); strings.TrimSpace(text) == "" {
			return errors.New("SERVICE_CREDENTIAL_FILE: the file is empty")
		}
	}
	c.AcceptedCredentials = splitCredentials(text)
	if len(c.AcceptedCredentials) == 0 {
		c.AcceptedCredentials = []Secret{DemoServiceCredential}
	}
	return errors.Join(
		Check(len(c.AcceptedCredentials) <= maxCredentials, c.variable(), "has more than two values"),
		c.checkValues(),
		Check(lab || onLoopback(addr) || !c.isDemo(), "SERVICE_CREDENTIAL",
			"is required: the demo value works only with LAB_MODE=true, or when HTTP_ADDR is a loopback address"),
	)
}

func (c *ServiceCredential) variable() string {
	if c.CredentialFile != "" {
		return "SERVICE_CREDENTIAL_FILE"
	}
	return "SERVICE_CREDENTIAL"
}

func (c *ServiceCredential) checkValues() error {
	for _, v := range c.AcceptedCredentials {
		if len(v) < minCredential {
			return fmt.Errorf("%s: each value needs at least %d bytes", c.variable(), minCredential)
		}
		for i := range len(v) {
			if v[i] <= ' ' || v[i] > '~' {
				return fmt.Errorf("%s: a value has a byte that is not printable ASCII, or a space", c.variable())
			}
		}
	}
	return nil
}

func (c *ServiceCredential) isDemo() bool {
	for _, v := range c.AcceptedCredentials {
		if v == DemoServiceCredential {
			return true
		}
	}
	return false
}

func splitCredentials(text string) []Secret {
	var values []Secret
	for _, v := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if v = strings.TrimSpace(v); v != "" {
			values = append(values, Secret(v))
		}
	}
	return values
}

// onLoopback reports whether only this machine can reach a listener on addr. ":8081" is every address.
func onLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
