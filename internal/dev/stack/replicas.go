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

// reconcileReplicas changes the running services to the wanted number of replicas. It works on one process at a time,
// so that the other replicas keep serving. It first restarts the services whose peers have changed and then stops the
// surplus replicas. All services are ready when it returns.
func (u *upRun) reconcileReplicas(ctx context.Context) error {
	wanted := serviceList(u.Ports, u.Replicas)
	for _, s := range wanted {
		if err := u.refresh(ctx, s); err != nil {
			return err
		}
	}
	for _, c := range u.components() {
		if programOf(c.Name) != "" && !slices.ContainsFunc(wanted, func(s service) bool { return s.name == c.Name }) {
			if err := u.stopSurplus(ctx, c); err != nil {
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
func (u *upRun) refresh(ctx context.Context, s service) error {
	c, ok := u.component(s.name)
	if !ok || maps.Equal(c.Peers, s.peers) {
		return nil
	}
	if err := Terminate(ctx, c.PID, c.Marker); err != nil {
		return fmt.Errorf("restart %s: %w", c.Name, err)
	}
	fmt.Fprintf(linePrefix{u, c.Name}, "stopped, because the addresses of its peers changed\n")
	return u.ensure(ctx, u.part(s))
}

// stopSurplus stops a replica that is no longer wanted.
func (u *upRun) stopSurplus(ctx context.Context, c Component) error {
	begin := time.Now()
	if err := Terminate(ctx, c.PID, c.Marker); err != nil {
		return fmt.Errorf("stop %s: %w", c.Name, err)
	}
	if err := u.forget(c.Name); err != nil {
		return err
	}
	u.report(c.Name, "stopped, surplus replica", begin)
	return nil
}

// awaitReady waits for a service that already runs. It may be waiting for a server that has just been restarted.
func (u *upRun) awaitReady(ctx context.Context, s service) error {
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

// programOf returns the service that a part is a replica of, or "" if the part is not a service.
func programOf(name string) string {
	for _, program := range []string{nameInventory, nameWallet, nameOrder, nameGateway} {
		if name == program || strings.HasPrefix(name, program+"-") {
			return program
		}
	}
	return ""
}
