// Command files sends a file and has a package installed, runs code that needs
// both, and brings a file back.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/gokernel/gokernel/session"
)

const sales = `region,units
north,1204500
south,982250
`

const code = `
import csv, humanize

with open("data/sales.csv", newline="") as f:
    total = sum(int(row["units"]) for row in csv.DictReader(f))
with open("report.txt", "w") as f:
    f.write(f"{humanize.intcomma(total)} units\n")
print("written")
`

func main() {
	r, err := session.Run(context.Background(), session.Request{
		Code:      code,
		Files:     map[string]session.File{"data/sales.csv": {Bytes: []byte(sales)}},
		Packages:  []string{"humanize"},
		Downloads: []session.Download{{Path: "report.txt"}, {Path: "missing.txt"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if !r.Success {
		log.Fatalf("%s: %s", r.Error.Name, r.Error.Value)
	}
	fmt.Print(r.Stdout)
	fmt.Print(string(r.Files["report.txt"].Bytes))

	// One file that cannot be had does not spoil the others.
	if r.Files["missing.txt"].Err != nil {
		fmt.Println("missing.txt did not come back")
	}
}
