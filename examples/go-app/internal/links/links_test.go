package links

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestEveryLinkIsWellFormed(t *testing.T) {
	if wrong := Check(All()); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	if wrong := Check([]Link{{Name: "a", URL: "http://a"}, {Name: "b", URL: "::"}}); len(wrong) != 2 {
		t.Fatalf("expected two, found %v", wrong)
	}
}

func TestThePageShowsTheLinks(t *testing.T) {
	handler, err := Handler("../../templates")
	if err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	if body := answer.Body.String(); answer.Code != http.StatusOK || !strings.Contains(body, Greeting) || !strings.Contains(body, "https://go.dev/") {
		t.Fatalf("%d %s", answer.Code, body)
	}
}
