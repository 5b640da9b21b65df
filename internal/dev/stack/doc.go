// Package stack starts and stops the servers that Holdfast needs (MySQL or MariaDB, Redis, RocketMQ) as plain processes
// on loopback, for machines without Docker and for every test. Where RocketMQ cannot run, the development broker does.
//
// A server lives in one of two ways. Tied to this process it dies with it, even when this process is killed with
// SIGKILL, and its temporary folder goes with it: that is what tests use. Detached it has its own session and outlives
// us: that is what "holdfast up" uses, and [Terminate] ends it later by its recorded process id.
//
// Nothing here is for production; production points the services at servers of its own.
package stack
