package main

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestSlowDatabase checks that the proxy passes everything, both ways, and not faster than it should.
func TestSlowDatabase(t *testing.T) {
	t.Parallel()
	database, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	go func() {
		for {
			c, err := database.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	d, err := slowDown(t.Context(), database.Addr().String(), 100)
	if err != nil {
		t.Fatal(err)
	}
	const each = 16_000 // bytes of each of two connections: 320 ms together, the last piece not counted
	begin := time.Now()
	var conns []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", d.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
		go func() {
			for range each / 1000 {
				_, _ = c.Write(make([]byte, 1000))
			}
		}()
	}
	for _, c := range conns {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if n, err := io.CopyN(io.Discard, c, each); err != nil {
			t.Fatalf("%d bytes came back: %v", n, err)
		}
	}
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("%d bytes passed in %v", 2*each, took)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
	if _, err := conns[0].Read(make([]byte, 1)); err == nil {
		t.Error("a connection is open after close")
	}
}

func TestParse_slow(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]int{
		"":              0, // the shop that is up is as fast as it is
		"-own":          ownSlow,
		"-own -slow 0":  0,
		"-own -slow 90": 90,
	} {
		if o, err := parse(strings.Fields(args)); err != nil || o.slow != want {
			t.Errorf("%q: %d KB/s, %v; want %d", args, o.slow, err, want)
		}
	}
	for _, args := range []string{"-slow 90", "-slow 0", "-own -slow -5"} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
