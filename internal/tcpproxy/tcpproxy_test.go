package tcpproxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"testing"

	"holdfast/internal/tcpproxy"
)

func TestProxy(t *testing.T) {
	t.Parallel()
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = echo.Close() })
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	p := tcpproxy.New(t, echo.Addr().String())

	open := func() (net.Conn, error) {
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { _ = c.Close() })
		fmt.Fprintln(c, "hello")
		_, err = bufio.NewReader(c).ReadString('\n')
		return c, err
	}
	c, err := open()
	if err != nil {
		t.Fatalf("through the proxy: %v", err)
	}
	p.Cut()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the open connection survived the cut")
	}
	if _, err := open(); err == nil {
		t.Error("a new connection went through the cut")
	}
	p.Restore()
	if _, err := open(); err != nil {
		t.Errorf("after Restore: %v", err)
	}
}
