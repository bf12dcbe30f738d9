// Check says whether every link is well formed: a second program of the same source.
package main

import (
	"fmt"
	"os"

	"example.com/go-app/internal/links"
)

func main() {
	wrong := links.Check(links.All())
	for _, err := range wrong {
		fmt.Fprintln(os.Stderr, err)
	}
	if len(wrong) > 0 {
		os.Exit(1)
	}
	fmt.Println("all links are well formed")
}
