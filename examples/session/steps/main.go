// Command steps works in several steps on one session: variables, files and
// packages of one step are there in the next.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/gokernel/gokernel/session"
)

func main() {
	if err := work(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func work(ctx context.Context) error {
	m, err := session.Default()
	if err != nil {
		return err
	}
	first, err := m.Run(ctx, session.Request{
		Code:      "words = open('words.txt').read().split()\nlen(words)",
		Files:     map[string]session.File{"words.txt": {Bytes: []byte("to be or not to be")}},
		KeepAlive: true,
	})
	if err != nil {
		return err
	}
	defer m.Close(ctx, first.SessionID)
	fmt.Println("words:", first.Text)

	for _, code := range []string{
		"from collections import Counter\ncounts = Counter(words)",
		"counts.most_common(2)",
		"open('words.txt').read()[:5]",
	} {
		r, err := m.Run(ctx, session.Request{Session: first.SessionID, Code: code})
		if err != nil {
			return err
		}
		if r.Text != "" {
			fmt.Println(r.Text)
		}
	}
	return nil
}
