package app_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"oneflow/internal/app"
	"oneflow/internal/cli"
)

func TestProfilesAreServedToThisMachineAlone(t *testing.T) {
	t.Parallel()
	for _, exposed := range []string{"0.0.0.0:0", ":0", "192.0.2.1:6060", "[::]:0"} {
		_, err := app.PprofFlag{Pprof: exposed}.Serve(t.Context(), zerolog.Nop())
		var sb strings.Builder
		if code := cli.Code("x", &sb, err); err == nil || code != cli.Unsafe {
			t.Errorf("%s: %v, exit code %d", exposed, err, code)
		}
	}
	if stop, err := (app.PprofFlag{}).Serve(t.Context(), zerolog.Nop()); err != nil {
		t.Error(err)
	} else {
		stop()
	}
	var log bytes.Buffer
	stop, err := app.PprofFlag{Pprof: "127.0.0.1:0"}.Serve(t.Context(), zerolog.New(&log))
	if err != nil {
		t.Fatal(err)
	}
	var said struct{ Address string }
	if err := json.Unmarshal(log.Bytes(), &said); err != nil {
		t.Fatal(err)
	}
	at := said.Address
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(host string) (int, string, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+"/debug/pprof/goroutine?debug=1", http.NoBody)
		if err != nil {
			return 0, "", err
		}
		if host != "" {
			r.Host = host
		}
		answer, err := client.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		return answer.StatusCode, string(body), err
	}
	if status, body, err := get(""); err != nil || status != http.StatusOK || !strings.Contains(body, "goroutine profile") {
		t.Errorf("%d %.100s %v", status, body, err)
	}
	if status, _, err := get("evil.example"); err != nil || status != http.StatusMisdirectedRequest {
		t.Errorf("a foreign name: %d %v", status, err)
	}
	stop()
	if _, _, err := get(""); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}
