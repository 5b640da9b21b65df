// Package compose holds what docker-compose.yml has to keep to beyond what compose itself checks; see its tests.
package compose
