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

// TestADeploymentIsCheckedWithTheKeyThatIsItsOwn has two servers that take a key each.
func TestADeploymentIsCheckedWithTheKeyThatIsItsOwn(t *testing.T) {
	t.Parallel()
	address := func(key string) string {
		server, err := fakeprovider.New(fakeprovider.Config{Keys: map[string]*fakeprovider.Behaviour{key: nil}})
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Start(""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Close() })
		return server.URL + "/openai/v1"
	}
	good, other := address(goodKey), address(otherKey)
	k := newKeyring(t, "providers: {pair: {kind: openai, compatible: true, deployments: {east: {base_url: "+good+"}, west: {base_url: "+other+"}}}}\n")
	if r := k.run(goodKey+"\n", "keys", "set", "pair"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	row := func(out, deployment string) string {
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "pair/"+deployment+" ") {
				return line
			}
		}
		return ""
	}
	r := k.run("", "check", "pair")
	if r.code != cli.Failure || !strings.Contains(row(r.out, "east"), " ok") || !strings.Contains(row(r.out, "west"), "unauthorised") ||
		!strings.Contains(r.err, "1 of 2") {
		t.Errorf("with the provider's key for all: %+v\n%s", r, r.out)
	}
	if r := k.run(otherKey+"\n", "keys", "set", "pair-west"); r.code != cli.OK {
		t.Errorf("%+v", r)
	}
	r = k.run("", "check", "pair")
	if r.code != cli.OK || !strings.Contains(row(r.out, "east"), " ok") || !strings.Contains(row(r.out, "west"), " ok") {
		t.Errorf("with a key of its own: %+v\n%s", r, r.out)
	}
	if r := k.run("", "check", "pair", "-o", "ndjson"); strings.Count(r.out, `"deployment":"`) != 2 {
		t.Errorf("%+v", r)
	}
	if r := k.run("", "keys", "ls"); r.code != cli.OK || !strings.Contains(r.out, "pair-west") {
		t.Errorf("%+v\n%s", r, r.out)
	}
	if r := k.run(goodKey+"\n", "keys", "set", "pair-south"); r.code != cli.Usage || !strings.Contains(r.err, `"pair-south": is not configured`) {
		t.Errorf("a deployment that is not there: %+v", r)
	}
}
