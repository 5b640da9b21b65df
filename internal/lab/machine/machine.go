// Package machine describes where a measurement was made, so that figures of different machines are not compared or of
// different durability.
package machine

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Machine is the machine and its database server.
type Machine struct {
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	OS       string            `json:"os"`
	Go       string            `json:"go"`
	Database string            `json:"database"`
	Settings map[string]string `json:"settings"` // of the database server, mainly durability
}

// settings returns the server settings on which the figures depend. Some servers lack some of them.
func settings() []string {
	return []string{
		"innodb_flush_log_at_trx_commit", "sync_binlog", "log_bin", "innodb_buffer_pool_size", "innodb_flush_method", "max_connections",
	}
}

// Describe asks the system and the database server.
func Describe(ctx context.Context, db *sql.DB) (Machine, error) {
	m := Machine{CPU: cpu(), Cores: runtime.NumCPU(), OS: kernel(), Go: runtime.Version(), Settings: map[string]string{}}
	if err := db.QueryRowContext(ctx, "SELECT CONCAT(@@version_comment, ' ', VERSION())").Scan(&m.Database); err != nil {
		return m, fmt.Errorf("read the database's version: %w", err)
	}
	for _, name := range settings() {
		var got, value string
		err := db.QueryRowContext(ctx, "SHOW GLOBAL VARIABLES LIKE '"+name+"'").Scan(&got, &value)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return m, fmt.Errorf("read %s: %w", name, err)
		}
		m.Settings[name] = value
	}
	return m, nil
}

// Durability says in words what a commit costs.
func (m Machine) Durability() string {
	words := []string{"flush at commit " + m.Settings["innodb_flush_log_at_trx_commit"]}
	if m.Settings["log_bin"] == "ON" {
		words = append(words, "binlog, sync "+m.Settings["sync_binlog"])
	} else {
		words = append(words, "no binlog")
	}
	return strings.Join(words, ", ")
}

// cpu returns the processor's name, or "" if it cannot be read.
func cpu() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // read only
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return runtime.GOOS + " " + strings.TrimSpace(string(b))
}
