// Package links keeps a short list of links and shows it.
package links

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path/filepath"
	"time"
)

// Greeting is what stands above the list.
const Greeting = "hello from go"

// A Link is a name and where it leads.
type Link struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// All gives every link.
func All() []Link {
	return []Link{
		{Name: "Go", URL: "https://go.dev/"},
		{Name: "The standard library", URL: "https://pkg.go.dev/std"},
	}
}

// Check says what is wrong with each link that is.
func Check(links []Link) []error {
	var wrong []error
	for _, link := range links {
		parsed, err := url.Parse(link.URL)
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Errorf("%s: %w", link.Name, err))
		case parsed.Scheme != "https" || parsed.Host == "":
			wrong = append(wrong, fmt.Errorf("%s: %q is no https address", link.Name, link.URL))
		}
	}
	return wrong
}

// Handler answers with the list, as a page and as JSON.
func Handler(folder string) (http.Handler, error) {
	page, err := template.ParseFiles(filepath.Join(folder, "index.html"))
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		// The status is sent by now: an error can only be a reader who has gone.
		_ = page.Execute(w, map[string]any{"Greeting": Greeting, "Links": All()})
	})
	mux.HandleFunc("GET /api/links", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(All())
	})
	mux.HandleFunc("GET /time/{zone...}", func(w http.ResponseWriter, r *http.Request) {
		zone, err := time.LoadLocation(r.PathValue("zone"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		fmt.Fprintln(w, time.Now().In(zone).Format(time.RFC1123Z))
	})
	return mux, nil
}
