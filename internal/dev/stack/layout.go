package stack

import (
	"fmt"
	"strings"
)

// Ports are the ports on which a stack listens on loopback. A zero field means the default port of `holdfast up`.
// Tests choose other ports, to run a stack beside it.
//
// The remaining ports are derived: a service's operations port is 1000 above its API port, replica k is 10·(k-1) above
// the first replica, Redlock's three nodes follow Redis, and [StartRocketMQ] derives the broker's port from the name
// server's.
type Ports struct {
	Gateway, Order, Inventory, Wallet int
	MySQL, Redis, Namesrv             int

	MySQLProxy int // on which a proxy to MySQL listens, for the services; 0: there is none
}

// The default ports.
const (
	portGateway   = 8080
	portOrder     = 8081
	portInventory = 8082
	portWallet    = 8083
	portMySQL     = 13306
	portRedis     = 16379
	portNamesrv   = 19876
)

// Distances between related ports.
const (
	opsOffset     = 1000
	replicaOffset = 10
)

// maxReplicas keeps the services' port ranges apart.
const maxReplicas = 9

func (p Ports) withDefaults() Ports {
	for _, d := range []struct {
		port *int
		def  int
	}{
		{&p.Gateway, portGateway},
		{&p.Order, portOrder},
		{&p.Inventory, portInventory},
		{&p.Wallet, portWallet},
		{&p.MySQL, portMySQL},
		{&p.Redis, portRedis},
		{&p.Namesrv, portNamesrv},
	} {
		if *d.port == 0 {
			*d.port = d.def
		}
	}
	return p
}

// Port is a port on which a part of the stack listens.
type Port struct {
	Name   string // of the part
	Number int
}

// PortList lists the ports that `holdfast up` needs. With RocketMQ these include the broker's ports.
func PortList(replicas int, withRocketMQ bool) []Port {
	return Ports{}.withDefaults().list(replicas, withRocketMQ)
}

func (p Ports) list(replicas int, withRocketMQ bool) []Port {
	list := []Port{{nameMySQL, p.MySQL}, {nameRedis, p.Redis}}
	for i := range redlockCount {
		list = append(list, Port{fmt.Sprintf("redlock-%d", i+1), p.redlock(i)})
	}
	broker := nameDevBroker
	if withRocketMQ {
		broker = nameRocketMQ
		b := p.Namesrv + brokerOffset
		list = append(list, Port{broker, b - 2}, Port{broker, b}, Port{broker, b + 1})
	}
	list = append(list, Port{broker, p.Namesrv})
	for _, s := range serviceList(p, max(1, replicas)) {
		list = append(list, Port{s.name, s.port}, Port{s.name, s.port + opsOffset})
	}
	return list
}

// mysqlDSN returns the DSN of a database on the stack's server, as root. "" selects no database.
func (p Ports) mysqlDSN(database string) string {
	return "root@tcp(" + loopback(p.MySQL) + ")/" + database
}

// servicesDSN is mysqlDSN by way of the proxy, if there is one.
func (p Ports) servicesDSN(database string) string {
	if p.MySQLProxy != 0 {
		p.MySQL = p.MySQLProxy
	}
	return p.mysqlDSN(database)
}

// service describes how one service process is started.
type service struct {
	name    string // as `holdfast status` shows it: "order-srv", and "order-srv-2" for the second
	program string // "order-srv", or "wallet", which is the program of order-srv
	port    int    // of its API; operations are 1000 above
	env     map[string]string

	// peers are the variables with the addresses of the other services. A running process with different peers must be
	// restarted.
	peers map[string]string
}

// serviceList lists the services in the order in which the documentation presents them: all first replicas, then all
// second replicas. They start concurrently.
func serviceList(p Ports, replicas int) []service {
	inventories, wallets := urls(p.Inventory, replicas), urls(p.Wallet, replicas)
	orders := map[string]string{"INVENTORY_URLS": inventories, "WALLET_URLS": wallets}
	gateways := map[string]string{"INVENTORY_URLS": inventories, "WALLET_URLS": wallets, "ORDER_URLS": urls(p.Order, replicas)}
	namesrv := loopback(p.Namesrv)
	var list []service
	for k := 1; k <= replicas; k++ {
		list = append(list,
			service{replica(nameInventory, k), nameInventory, replicaPort(p.Inventory, k), map[string]string{
				"MYSQL_DSN": p.servicesDSN("inventory"), "REDIS_ADDRS": loopback(p.Redis), "NAMESRV_ADDRS": namesrv,
				"REDLOCK_ADDRS": p.redlockAddrs(), "INSTANCE_ID": fmt.Sprintf("inventory-%d", k),
			}, nil},
			service{replica(nameWallet, k), nameWallet, replicaPort(p.Wallet, k), map[string]string{"WALLET_DSN": p.servicesDSN("wallet")}, nil},
			service{replica(nameOrder, k), nameOrder, replicaPort(p.Order, k), map[string]string{
				"MYSQL_DSN": p.servicesDSN("orders"), "NAMESRV_ADDRS": namesrv, "INSTANCE_ID": fmt.Sprintf("order-%d", k),
				"WEBHOOK_ALLOW": "127.0.0.0/8,::1/128", // for holdfast webhook-listen
			}, orders},
			service{replica(nameGateway, k), nameGateway, replicaPort(p.Gateway, k), map[string]string{"DEMO_LOGIN": "true"}, gateways})
	}
	return list
}

// replica names the k-th process of a service.
func replica(program string, k int) string {
	if k == 1 {
		return program
	}
	return fmt.Sprintf("%s-%d", program, k)
}

func replicaPort(first, k int) int { return first + (k-1)*replicaOffset }

// urls lists all replicas of a service.
func urls(first, replicas int) string {
	var list []string
	for k := 1; k <= replicas; k++ {
		list = append(list, "http://"+loopback(replicaPort(first, k)))
	}
	return strings.Join(list, ",")
}
