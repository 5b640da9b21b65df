// Package compose tests rules for docker-compose.yml beyond those that compose checks.
package compose
