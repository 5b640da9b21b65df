// Package stack starts and stops the servers that Holdfast needs (MySQL or MariaDB, Redis, RocketMQ) as plain
// processes on loopback, for machines without Docker and for every test. If RocketMQ cannot run, it starts the
// development broker.
//
// A server is either tied or detached. A tied server dies with this process, even if this process is killed with
// SIGKILL, and its temporary folder is removed. Tests use tied servers. A detached server has its own session and
// outlives this process. "holdfast up" uses detached servers, and [Terminate] ends them later by their recorded
// process ids.
//
// This package is not for production.
package stack
