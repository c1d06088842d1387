// Command simple runs one line of Python in a session of its own, which ends
// with the run.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/gokernel/gokernel/session"
)

func main() {
	r, err := session.Run(context.Background(), session.Request{Code: "sum(n * n for n in range(10))"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Text)
}
