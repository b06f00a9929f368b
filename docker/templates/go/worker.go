// Stands in for the real worker: one job after the other, and at SIGTERM the one in hand is finished.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	for job := 1; len(stop) == 0; job++ {
		fmt.Println("job", job, "taken")
		time.Sleep(2 * time.Second)
		fmt.Println("job", job, "done")
	}
}
