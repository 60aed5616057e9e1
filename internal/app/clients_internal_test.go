package app

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// answering answers every request.
type answering struct{}

func (answering) RoundTrip(*http.Request) (*http.Response, error) {
	return httptest.NewRecorder().Result(), nil
}

func TestAClientReachesItsProvidersHostOnly(t *testing.T) {
	t.Parallel()
	base, err := url.Parse("https://api.openai.com/v1")
	if err != nil {
		t.Fatal(err)
	}
	only := &onlyHost{base: base, next: answering{}}
	for address, ok := range map[string]bool{
		"https://api.openai.com/v1/chat/completions": true,
		"https://api.openai.com/v2":                  true,
		"http://api.openai.com/v1":                   false,
		"https://api.openai.com:8443/v1":             false,
		"https://api.openai.com.evil.com/v1":         false,
		"https://api.openai.com@evil.com/":           false,
		"https://openai.com/":                        false,
		"https://evil.com":                           false,
		"/v1":                                        false,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := only.RoundTrip(r)
		if err == nil {
			_ = res.Body.Close()
		}
		if ok != (err == nil) || !ok && !errors.Is(err, errOtherHost) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
