package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"oneflow/internal/cli"
)

// healthCmd asks a monitor whether it is ready, for containers without a shell.
type healthCmd struct {
	URL string `arg:"" optional:"" help:"The monitor's address." default:"http://127.0.0.1:8080"`
}

// Run gives exit code 0 if it is ready, else 1 and the reason.
func (c *healthCmd) Run(s *session) error {
	ctx, cancel := context.WithTimeout(s.Ctx, 4*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.URL, "/")+"/readyz", http.NoBody)
	if err != nil {
		return cli.Fail(cli.Usage, fmt.Errorf("%q is not an address such as http://127.0.0.1:8080", c.URL))
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(body)))
	}
	_, err = fmt.Fprintln(s.Env.Out, "ready")
	return err
}
