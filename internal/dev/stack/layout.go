package stack

import (
	"fmt"
	"strings"
)

// Ports are where a stack listens, on loopback. A zero field means `holdfast up`'s own port; tests choose others, to run
// a whole stack beside it.
//
// Others follow from them: a service's operations are 1000 above its API, replica k is 10·(k-1) above the first, Redlock's
// three nodes are right above Redis, and the broker is where [StartRocketMQ] puts it for the name server's port.
type Ports struct {
	Gateway, Order, Inventory int
	MySQL, Redis, Namesrv     int
}

// The default ports.
const (
	portGateway   = 8080
	portOrder     = 8081
	portInventory = 8082
	portMySQL     = 13306
	portRedis     = 16379
	portNamesrv   = 19876
)

// Between ports that belong together.
const (
	opsOffset     = 1000
	replicaOffset = 10
)

// maxReplicas keeps the services' ports apart: more of them would meet the ports of something else.
const maxReplicas = 9

func (p Ports) withDefaults() Ports {
	for _, d := range []struct {
		port *int
		def  int
	}{
		{&p.Gateway, portGateway},
		{&p.Order, portOrder},
		{&p.Inventory, portInventory},
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

// mysqlDSN is how root reaches a database of the stack's own server; none for "".
func (p Ports) mysqlDSN(database string) string {
	return "root@tcp(" + loopback(p.MySQL) + ")/" + database
}

// service describes how one process of ours is started.
type service struct {
	name    string // as `holdfast status` shows it: "order-srv", and "order-srv-2" for the second
	program string // "order-srv"
	port    int    // of its API; operations are 1000 above
	env     map[string]string

	// peers are the variables in which it is told where the other services are. A process that was started with others
	// than these knows other replicas than there are.
	peers map[string]string
}

// serviceList is in the order in which learners meet them, all first replicas before the second ones; they start side by
// side.
func serviceList(p Ports, replicas int) []service {
	orders := map[string]string{"INVENTORY_URLS": urls(p.Inventory, replicas)}
	gateways := map[string]string{"INVENTORY_URLS": urls(p.Inventory, replicas), "ORDER_URLS": urls(p.Order, replicas)}
	namesrv := loopback(p.Namesrv)
	var list []service
	for k := 1; k <= replicas; k++ {
		list = append(list,
			service{replica(nameInventory, k), nameInventory, replicaPort(p.Inventory, k), map[string]string{
				"MYSQL_DSN": p.mysqlDSN("inventory"), "REDIS_ADDRS": loopback(p.Redis), "NAMESRV_ADDRS": namesrv,
				"REDLOCK_ADDRS": p.redlockAddrs(), "INSTANCE_ID": fmt.Sprintf("inventory-%d", k),
			}, nil},
			service{replica(nameOrder, k), nameOrder, replicaPort(p.Order, k), map[string]string{
				"MYSQL_DSN": p.mysqlDSN("orders"), "NAMESRV_ADDRS": namesrv, "INSTANCE_ID": fmt.Sprintf("order-%d", k),
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
