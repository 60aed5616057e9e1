package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"oneflow/internal/cli"
	"oneflow/internal/fakeprovider"
)

func TestProvidersAreCheckedAtNoCost(t *testing.T) {
	t.Parallel()
	server, err := fakeprovider.New(fakeprovider.Config{Keys: map[string]*fakeprovider.Behaviour{goodKey: nil}})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	k := newKeyring(t, "providers: {openai: {base_url: "+server.URL+"/openai/v1}}\n")
	k.run(goodKey+"\n", "keys", "set", "openai")
	if r := k.run("", "check", "telex"); r.code != cli.Usage || !strings.Contains(r.err, `"telex": there is no such provider`) {
		t.Errorf("%+v", r)
	}
	took := regexp.MustCompile(`\d\S*s`)
	if r := k.run("", "check"); r.code != cli.OK || !regexp.MustCompile(`openai +openai +T +ok\n`).MatchString(took.ReplaceAllString(r.out, "T")) ||
		!strings.Contains(r.out, "nobody to ask") || strings.Contains(r.out, "anthropic") {
		t.Errorf("%+v\n%s", r, r.out)
	}
	if r := k.run("", "check", "openai", "-o", "ndjson"); r.code != cli.OK || strings.Count(r.out, "\n") != 1 || !strings.HasPrefix(r.out, `{"provider":"openai","kind":"openai","ok":true,"took":"`) {
		t.Errorf("%+v", r)
	}
	if r := k.run("", "check", "anthropic"); r.code != cli.Failure || !strings.Contains(r.out, "set ANTHROPIC_API_KEY, or run `worker keys set anthropic`") {
		t.Errorf("%+v\n%s", r, r.out)
	}
	k.run(otherKey+"\n", "keys", "set", "openai")
	if r := k.run("", "check", "openai"); r.code != cli.Failure || !strings.Contains(r.out, "unauthorised") || !strings.Contains(r.err, "1 of 1") {
		t.Errorf("%+v\n%s", r, r.out)
	}
	for _, c := range server.Calls() {
		if c.Method != http.MethodGet {
			t.Errorf("the check made a %s to %s, which may cost", c.Method, c.Path)
		}
	}
}

func TestTheCheckTellsOfModelsInUseThatAreShutDown(t *testing.T) {
	t.Parallel()
	server, err := fakeprovider.New(fakeprovider.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	k := newKeyring(t, "providers: {openai: {base_url: "+server.URL+"/openai/v1, models: {audio: tts-1}}}\n")
	k.run(goodKey+"\n", "keys", "set", "openai")
	if r := k.run("", "check", "openai"); r.code != cli.OK || !strings.Contains(r.out, "ok; tts-1 is shut down on 2027-01-06\n") {
		t.Errorf("%+v\n%s", r, r.out)
	}
}
