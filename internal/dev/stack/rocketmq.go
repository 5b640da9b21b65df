package stack

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"holdfast/deploy/rocketmq"
)

// brokerOffset is the distance from the name server's port to the broker's if Options.Port is set: 19876 and 20911.
const brokerOffset = 1035

// RocketMQ is a private RocketMQ, name server and broker in one Java process, on loopback.
type RocketMQ struct {
	Server             // Addr is the name server's
	NamesrvAddr string // host:port
	BrokerAddr  string // host:port; the broker also uses the port two below and the port one above

	java, jars string
	disk       StoreDisk
	tie        bool
	remove     string
	settings   []string
}

// StartRocketMQ starts RocketMQ and returns when topics can be created and routed, in about three seconds. The first
// start on a machine fetches 86 MB of jars with Maven. Options.Port is the name server's port; the broker's is derived
// from it, 20911 for 19876. Messages in Options.Dir survive a restart. settings are lines of the broker's
// configuration, such as "transactionTimeOut=3000"; they override deploy/rocketmq/broker.conf.
//
// RocketMQ is not started on a partition that is fuller than [StoreDiskLimit].
//
// The error names what is missing or the port in use, or contains the end of the log. No process is left running after
// an error.
func StartRocketMQ(ctx context.Context, o Options, settings ...string) (*RocketMQ, error) {
	if err := o.StoreDisk.check(cmp.Or(o.Dir, temporary())); err != nil {
		return nil, fmt.Errorf("start RocketMQ: %w", err)
	}
	java, jars, err := rocketmqJars(ctx, o) // before the start timeout: a first fetch may take minutes
	if err != nil {
		return nil, fmt.Errorf("start RocketMQ: %w", err)
	}
	ctx, cancel := withStartTimeout(ctx)
	defer cancel()
	dir, remove, err := o.folder("rocketmq")
	if err != nil {
		return nil, fmt.Errorf("start RocketMQ: %w", err)
	}
	r := &RocketMQ{
		Server: Server{
			Name: "RocketMQ", Version: rocketmq.Version, Dir: dir, LogFile: filepath.Join(dir, "rocketmq.log"), temporary: o.Dir == "",
		},
		java: java, jars: jars, disk: o.StoreDisk, tie: o.Tie, remove: remove, settings: settings,
	}
	if err := r.startOnPorts(ctx, o.Port); err != nil {
		if r.temporary {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return nil, fmt.Errorf("start RocketMQ: %w", err)
	}
	return r, nil
}

// startOnPorts starts on the wanted name server port. If want is 0, it tries free ports until the start succeeds.
func (r *RocketMQ) startOnPorts(ctx context.Context, want int) error {
	var failed error
	for range startTries {
		names, broker, err := rocketmqPorts(want)
		if err != nil {
			return errors.Join(failed, err)
		}
		r.NamesrvAddr = net.JoinHostPort("127.0.0.1", strconv.Itoa(names))
		r.BrokerAddr = net.JoinHostPort("127.0.0.1", strconv.Itoa(broker))
		r.Addr = r.NamesrvAddr
		if err := r.configure(names, broker); err != nil {
			return err
		}
		if failed = r.start(ctx); failed == nil {
			return nil
		}
		if want != 0 || rocketmqPortsFree(names, broker) == nil { // the ports were not the cause
			return failed
		}
	}
	return failed
}

// rocketmqPorts returns the name server's and the broker's ports. In a free block of four the broker uses the first
// port (fast remoting), the third and the fourth (high availability), and the name server uses the second.
func rocketmqPorts(want int) (names, broker int, err error) {
	if want != 0 {
		return want, want + brokerOffset, rocketmqPortsFree(want, want+brokerOffset)
	}
	ports, err := FreePorts(4)
	if err != nil {
		return 0, 0, err
	}
	return ports[1], ports[2], nil
}

func rocketmqPortsFree(names, broker int) error {
	return errors.Join(PortFree(names), PortFree(broker-2), PortFree(broker), PortFree(broker+1))
}

// configure writes both configuration files. In the broker's file a later line overrides an earlier one.
func (r *RocketMQ) configure(names, broker int) error {
	namesConf := fmt.Sprintf("listenPort=%d\nbindAddress=127.0.0.1\n", names)
	var b bytes.Buffer
	b.WriteString(rocketmq.BrokerConf)
	fmt.Fprintf(&b, "\nlistenPort=%d\nnamesrvAddr=%s\n", broker, r.NamesrvAddr)
	// The address that the broker announces to clients. The default is the first network card, on which it does not
	// listen.
	b.WriteString("bindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\n")
	for _, line := range r.settings {
		fmt.Fprintln(&b, line)
	}
	return errors.Join(
		os.WriteFile(r.confFile("namesrv"), []byte(namesConf), 0o600),
		os.WriteFile(r.confFile("broker"), b.Bytes(), 0o600),
	)
}

func (r *RocketMQ) confFile(name string) string { return filepath.Join(r.Dir, name+".conf") }

func (r *RocketMQ) start(ctx context.Context) error {
	if err := os.RemoveAll(r.LogFile); err != nil { // probe must not find the "ready" of an earlier start
		return err
	}
	p, err := Start(Command{
		Name: r.Name, Log: r.LogFile, Tie: r.tie, Remove: r.remove, Dir: r.Dir,
		Args: []string{
			r.java, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms64m", "-Xmx256m",
			"-Duser.home=" + r.Dir, "-Drocketmq.home.dir=" + r.Dir, // logs and store go there
			"-cp", r.jars + string(os.PathListSeparator) + filepath.Join(r.jars, "*"),
			"Launcher", r.confFile("namesrv"), r.confFile("broker"),
		},
	})
	if err != nil {
		return err
	}
	r.Process, r.PID = p, p.PID
	if err := p.Ready(ctx, r.probe); err != nil {
		return errors.Join(err, p.Kill())
	}
	return nil
}

// probe looks for the launcher's line "ready" in the log. Another server on the ports does not write there.
func (r *RocketMQ) probe(context.Context) error {
	log, err := os.ReadFile(r.LogFile)
	if err != nil {
		return err
	}
	if !bytes.Contains(log, []byte("\nready\n")) {
		return errors.New("the broker has not registered with the name server yet")
	}
	return nil
}

// Stop kills RocketMQ, waits until it has ended and removes a temporary folder. A graceful stop takes 15 seconds, and
// the broker recovers all acknowledged messages after a kill.
func (r *RocketMQ) Stop(ctx context.Context) error {
	if err := r.Process.Kill(); err != nil {
		return fmt.Errorf("stop RocketMQ: %w", err)
	}
	return r.Server.Stop(ctx)
}

// Kill ends RocketMQ with SIGKILL and keeps its folder, for a later [RocketMQ.Restart].
func (r *RocketMQ) Kill(context.Context) error {
	if err := r.Process.Kill(); err != nil {
		return fmt.Errorf("kill RocketMQ: %w", err)
	}
	return nil
}

// RestartEmpty restarts RocketMQ without its store: messages, topics, offsets and open transactions are lost.
func (r *RocketMQ) RestartEmpty(ctx context.Context) error {
	if err := r.Kill(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(r.Dir, "store")); err != nil {
		return fmt.Errorf("delete the store of RocketMQ: %w", err)
	}
	return r.Restart(ctx)
}

// Restart ends RocketMQ with SIGKILL if it runs, and starts it again on the same ports with the same messages.
func (r *RocketMQ) Restart(ctx context.Context) error {
	if err := r.Kill(ctx); err != nil {
		return err
	}
	if err := r.disk.check(r.Dir); err != nil {
		return fmt.Errorf("restart RocketMQ: %w", err)
	}
	ctx, cancel := withStartTimeout(ctx)
	defer cancel()
	if err := r.start(ctx); err != nil {
		return fmt.Errorf("restart RocketMQ: %w", err)
	}
	return nil
}
