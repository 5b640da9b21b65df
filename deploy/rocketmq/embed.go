// Package rocketmq holds what it takes to run a RocketMQ name server and broker without their release archive: the list
// of jars, a launcher that runs both in one JVM, and the fixed part of the broker's settings.
package rocketmq

import _ "embed"

// Version is RocketMQ's version, the one in pom.xml.
const Version = "5.4.0"

// POM is pom.xml, whose runtime dependencies are the jars.
//
//go:embed pom.xml
var POM string

// Launcher is Launcher.java.
//
//go:embed Launcher.java
var Launcher string

// BrokerConf is broker.conf. Append to it: a later line wins.
//
//go:embed broker.conf
var BrokerConf string
