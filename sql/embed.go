// Package sql holds the schemas: goose migrations, one folder for each service's database, readable by hand and
// embedded into the services. They are the only truth about tables; nothing is derived from Go structs.
//
// Never mount these folders into a database image's init folder: the Down sections would run as well.
package sql

import (
	"embed"
	"io/fs"
)

//go:embed inventory/*.sql
var inventory embed.FS

//go:embed orders/*.sql
var orders embed.FS

//go:embed wallet/*.sql
var wallet embed.FS

// Inventory is the schema of inventory-srv.
func Inventory() fs.FS { return sub(inventory, "inventory") }

// Orders is the schema of order-srv.
func Orders() fs.FS { return sub(orders, "orders") }

// Wallet is the schema of the wallet, which order-srv runs as a process of its own.
func Wallet() fs.FS { return sub(wallet, "wallet") }

func sub(fsys embed.FS, dir string) fs.FS {
	s, err := fs.Sub(fsys, dir)
	if err != nil {
		panic(err) // the directory is part of the program
	}
	return s
}
