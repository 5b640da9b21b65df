package doctor

import (
	"context"
	"encoding/json"
	"net/url"
	"path/filepath"
	"strings"
)

// checkProxy: Go programs never send calls to the loopback address to a proxy. curl does, and so do containers with
// calls to each other.
func checkProxy(_ context.Context, e *exam) []Finding {
	var found []Finding
	name, value := e.first("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
	_, bypass := e.first("no_proxy", "NO_PROXY")
	switch {
	case value == "":
		found = append(found, Finding{Level: OK, Found: "no HTTP proxy is set"})
	case bypasses(bypass, "127.0.0.1"):
		found = append(found, Finding{Level: OK, Found: name + "=" + redact(value) + ", not for 127.0.0.1"})
	default:
		found = append(found, Finding{
			Level: Warning, Found: name + "=" + redact(value) + " is also used for 127.0.0.1, for instance by curl",
			Advice: "export NO_PROXY=localhost,127.0.0.1 no_proxy=localhost,127.0.0.1",
		})
	}
	if value != "" && e.RocketMQ() == nil {
		found = append(found, Finding{
			Level: OK, Way: Native, Found: "Maven does not read these variables: it needs <proxies> in " + filepath.Join(e.Home, ".m2", "settings.xml"),
		})
	}
	return append(found, e.containerProxy()...)
}

// first returns the first variable that is set.
func (e *exam) first(names ...string) (name, value string) {
	for _, name := range names {
		if value := e.Getenv(name); value != "" {
			return name, value
		}
	}
	return "", ""
}

// bypasses reports whether a list such as "localhost,127.0.0.1,.example.org" contains the host.
func bypasses(list, host string) bool {
	for one := range strings.SplitSeq(list, ",") {
		switch one = strings.TrimSpace(one); {
		case one == "*", one == host:
			return true
		case host == "127.0.0.1" && (one == "localhost" || strings.HasPrefix(one, "127.")):
			return true
		}
	}
	return false
}

// containerProxy examines the client's configuration: Compose hands its proxies to every container.
func (e *exam) containerProxy() []Finding {
	dir := e.Getenv("DOCKER_CONFIG")
	if dir == "" {
		dir = filepath.Join(e.Home, ".docker")
	}
	var config struct {
		Proxies map[string]struct {
			HTTPProxy string `json:"httpProxy"`
			NoProxy   string `json:"noProxy"`
		} `json:"proxies"`
	}
	if json.Unmarshal([]byte(file(dir, "config.json")), &config) != nil { // no file, or not for us to judge
		return nil
	}
	var found []Finding
	for _, p := range config.Proxies {
		if p.HTTPProxy != "" && (!bypasses(p.NoProxy, "order-srv") || !bypasses(p.NoProxy, "inventory-srv")) {
			found = append(found, Finding{
				Level: Problem, Way: Docker, Found: filepath.Join(dir, "config.json") + " gives containers a proxy, also for calls to each other",
				Advice: `add the services to "noProxy" there: localhost,127.0.0.1,api-gateway,order-srv,inventory-srv`,
			})
		}
	}
	return found
}

// redact returns a proxy's or a mirror's address without its password.
func redact(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address
	}
	return u.Redacted()
}
