// Command inventory is inventory-srv with the strategy of exercise 10. Its commands and settings are those of
// inventory-srv: see docs/running.md. `make up-mine` starts the shop with it.
package main

import (
	exercise "holdfast/exercises/10-own-strategy"
	"holdfast/inventory-srv/inventorylab"
)

func main() { inventorylab.Main(exercise.Strategy()) }
