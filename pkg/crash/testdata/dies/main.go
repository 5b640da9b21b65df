// Command dies comes to the crash point that its argument names.
package main

import (
	"fmt"
	"os"

	"holdfast/pkg/crash"
)

func main() {
	defer fmt.Println("deferred")
	crash.At(crash.Point(os.Args[1]))
	fmt.Println("after")
}
