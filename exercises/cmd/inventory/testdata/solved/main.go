// Command solved is the command inventory with the solution of exercise 10.
package main

import (
	solution "holdfast/exercises/solutions/10-own-strategy"
	"holdfast/inventory-srv/inventorylab"
)

func main() { inventorylab.Main(solution.Strategy()) }
