package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"holdfast/internal/dev/stack"
)

// HopArg is the argument that turns a program into a hop of the chain; see [Hop].
const HopArg = "bench-hop"

type chainOrder struct {
	Items []struct {
		SKU      string `json:"sku"`
		Quantity int    `json:"quantity"`
	} `json:"items"`
}

// Hop serves one hop of the empty chain on addr, host:port, until ctx is done. It decodes an order, passes it on to the
// hop at next and encodes the answer; without next it answers at once. It has no log, no limit and no deadline: what it
// costs is what HTTP and JSON cost on this machine, and no shop of three services can cost less than three hops.
func Hop(ctx context.Context, addr, next string) error {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024, MaxIdleConns: 2048}}
	r.POST("/v1/orders", func(c *gin.Context) {
		var o chainOrder
		if err := c.ShouldBindJSON(&o); err != nil {
			c.AbortWithStatus(http.StatusBadRequest)
			return
		}
		if next == "" {
			c.JSON(http.StatusCreated, gin.H{"order_no": "x", "status": "PLACED", "items": o.Items})
			return
		}
		status, answer, err := pass(client, next, o)
		if err != nil {
			c.AbortWithStatus(http.StatusServiceUnavailable)
			return
		}
		c.JSON(status, answer)
	})
	s := &http.Server{Addr: addr, Handler: r} //nolint:gosec // on loopback, and without a deadline as said above
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func pass(client *http.Client, next string, o chainOrder) (status int, answer map[string]any, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return 0, nil, err
	}
	url := "http://" + next + "/v1/orders"
	res, err := client.Post(url, "application/json", bytes.NewReader(body)) //nolint:noctx // the cheapest call
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close() //nolint:errcheck // read only
	if body, err = io.ReadAll(res.Body); err != nil {
		return 0, nil, err
	}
	return res.StatusCode, answer, json.Unmarshal(body, &answer)
}

// hops is the length of the chain: as many services as an order passes.
const hops = 3

// chainReady bounds the start of a hop.
const chainReady = 10 * time.Second

// startChain starts the hops as processes of self, tied to this one, and returns the address of the first and the
// processes by name.
func startChain(ctx context.Context, self, dir string) (addr string, pids map[string]int, stop func(context.Context) error, err error) {
	ports, err := stack.FreePorts(hops)
	if err != nil {
		return "", nil, nil, err
	}
	var running []*stack.Process
	stop = func(ctx context.Context) error {
		var errs []error
		for _, p := range running {
			errs = append(errs, p.Stop(ctx))
		}
		return errors.Join(errs...)
	}
	pids = map[string]int{}
	next := ""
	for i := hops; i > 0; i-- {
		addr = "127.0.0.1:" + strconv.Itoa(ports[i-1])
		name := fmt.Sprintf("hop-%d", i)
		args := []string{self, HopArg, addr}
		if next != "" {
			args = append(args, next)
		}
		p, err := stack.Start(stack.Command{Name: name, Args: args, Log: filepath.Join(dir, name+".log"), Tie: true})
		if err != nil {
			return "", nil, nil, errors.Join(err, stop(ctx))
		}
		running = append(running, p)
		pids[name] = p.PID
		starting, cancel := context.WithTimeout(ctx, chainReady)
		err = p.Ready(starting, func(ctx context.Context) error { return dialable(ctx, addr) })
		cancel()
		if err != nil {
			return "", nil, nil, errors.Join(err, stop(context.WithoutCancel(ctx)))
		}
		next = addr
	}
	return addr, pids, stop, nil
}

func dialable(ctx context.Context, addr string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}
