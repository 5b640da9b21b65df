package stack

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast/pkg/wait"
)

// fit makes what ran before fit the wanted number of replicas, one process after the other so that the rest serves
// meanwhile: first those are restarted that know other replicas than there are, then those are stopped that nobody
// calls any more. When it returns every service is ready.
func (u *upper) fit(ctx context.Context) error {
	wanted := serviceList(u.Ports, u.Replicas)
	for _, s := range wanted {
		if err := u.refresh(ctx, s); err != nil {
			return err
		}
	}
	for _, c := range u.components() {
		if programOf(c.Name) != "" && !slices.ContainsFunc(wanted, func(s service) bool { return s.name == c.Name }) {
			if err := u.dismiss(ctx, c); err != nil {
				return err
			}
		}
	}
	for _, s := range wanted {
		if err := u.awaitReady(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// refresh restarts a service that was started with other peers.
func (u *upper) refresh(ctx context.Context, s service) error {
	c, ok := u.component(s.name)
	if !ok || maps.Equal(c.Peers, s.peers) {
		return nil
	}
	if err := Terminate(ctx, c.PID, c.Marker); err != nil {
		return fmt.Errorf("restart %s: %w", c.Name, err)
	}
	fmt.Fprintf(linePrefix{u, c.Name}, "stopped, to learn where the others are now\n")
	return u.ensure(ctx, u.part(s))
}

// dismiss stops a replica too many.
func (u *upper) dismiss(ctx context.Context, c Component) error {
	begin := time.Now()
	if err := Terminate(ctx, c.PID, c.Marker); err != nil {
		return fmt.Errorf("stop %s: %w", c.Name, err)
	}
	if err := u.forget(c.Name); err != nil {
		return err
	}
	u.report(c.Name, "stopped, a replica too many", begin)
	return nil
}

// awaitReady waits for a service that was there before: the server that it missed may just have come back.
func (u *upper) awaitReady(ctx context.Context, s service) error {
	ctx, cancel := context.WithTimeout(ctx, serviceReady)
	defer cancel()
	for {
		err := httpReady(ctx, loopback(s.port+opsOffset))
		if err == nil {
			return nil
		}
		if wait.Sleep(ctx, readyPoll) != nil {
			c, _ := u.component(s.name)
			return fmt.Errorf("%s is not ready: %w; its log ends with:\n%s", s.name, err, Tail(c.Log, 20))
		}
	}
}

// programOf is the service that a part is a replica of, or "" when it is none of ours.
func programOf(name string) string {
	for _, program := range []string{nameInventory, nameOrder, nameGateway} {
		if name == program || strings.HasPrefix(name, program+"-") {
			return program
		}
	}
	return ""
}
