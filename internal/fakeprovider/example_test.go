package fakeprovider_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"oneflow/internal/fakeprovider"
)

// A server that lets two calls a minute through, the first of which finds the
// account empty.
func Example() {
	s, err := fakeprovider.New(fakeprovider.Config{
		Vendors: map[fakeprovider.Vendor]fakeprovider.Behaviour{
			fakeprovider.OpenAI: {Limits: fakeprovider.Limits{Requests: 2}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	if err := s.Start(""); err != nil {
		fmt.Println(err)
		return
	}
	s.Next(fakeprovider.OutOfMoney, 1)

	for range 3 {
		body := strings.NewReader(`{"model":"gpt-4o","messages":[{"role":"user","content":"Hello"}]}`)
		req, err := http.NewRequest(http.MethodPost, s.URL+"/v1/chat/completions", body) //nolint:noctx // an example
		if err != nil {
			fmt.Println(err)
			return
		}
		req.Header.Set("Authorization", "Bearer any-key")
		res, err := new(http.Client).Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		answer, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(res.StatusCode, strings.Contains(string(answer), "insufficient_quota"), res.Header.Get("X-Ratelimit-Remaining-Requests"))
	}
	fmt.Println(s.Count(), "calls received")
	// Output:
	// 429 true 1
	// 200 false 0
	// 429 false 0
	// 3 calls received
}
