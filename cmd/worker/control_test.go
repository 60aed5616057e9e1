package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"oneflow/internal/cli"
	"oneflow/internal/fakeprovider"
	"oneflow/internal/storetest"
	"oneflow/providers"
	"oneflow/store"
)

// console runs commands on one database and one configuration.
func console(t *testing.T, providers string) (run func(args ...string) result, database string) {
	t.Helper()
	k := newKeyring(t, providers)
	k.env["USER"] = "ada"
	database = storetest.Database(t)
	times := regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)`)
	return func(args ...string) result {
		r := k.run("", append([]string{"--database-url", database}, args...)...)
		r.out = times.ReplaceAllString(r.out, "TIME")
		r.out = regexp.MustCompile(`ada@[^\s,"]+`).ReplaceAllString(r.out, "ada@HOST")
		return r
	}, database
}

func table(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

func TestLimitsAreSetListedAndReset(t *testing.T) {
	t.Parallel()
	worker, database := console(t, "providers: {openai: {limits: {tpm: 90000}}}\n")
	if r := worker("limits", "set", "openai", "--rpm", "500", "--concurrent", "0"); r.code != cli.OK || r.out != table(
		"PROVIDER  LIMIT       CONFIGURED  LEARNED  PINNED    IN FORCE",
		"openai    rpm         60          -        500       500 (pinned)",
		"          tpm         90,000      -        -         90,000 (configured)",
		"          concurrent  -           -        no limit  no limit (pinned)",
		"openai: pinned by ada@HOST at TIME",
	) {
		t.Errorf("%+v\n%s", r, r.out)
	}
	db, err := store.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Learn(t.Context(), "openai", providers.Learned{Limits: providers.Limits{RPM: 3000, TPM: 40_000}}); err != nil {
		t.Fatal(err)
	}
	r := worker("limits", "ls")
	for _, want := range []string{
		"\nanthropic   rpm         50          -        -         50 (configured)\n",
		"\nopenai      rpm         60          3,000    500       500 (pinned)\n",
		"\n            tpm         90,000      40,000   -         40,000 (learned)\n",
	} {
		if r.code != cli.OK || !strings.Contains(r.out, want) {
			t.Errorf("%q is not in\n%s", want, r.out)
		}
	}
	var rows []limitsRow
	if err := json.Unmarshal([]byte(strings.ReplaceAll(worker("limits", "ls", "-o", "json").out, "TIME", "2026-01-01T00:00:00Z")), &rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if want := (providers.Limits{RPM: 500, TPM: 40_000}); row.Provider == "openai" && row.InForce != want {
			t.Errorf("%+v", row)
		}
	}
	if r := worker("limits", "reset", "openai"); r.code != cli.OK || r.out != table(
		"PROVIDER  LIMIT  CONFIGURED  LEARNED  PINNED  IN FORCE",
		"openai    rpm    60          -        -       60 (configured)",
		"          tpm    90,000      -        -       90,000 (configured)",
	) {
		t.Errorf("%+v\n%s", r, r.out)
	}
}

func TestChainsAreSetListedAndReset(t *testing.T) {
	t.Parallel()
	worker, _ := console(t, "chains: {video: [mock]}\n")
	configured := table(
		"TASK   PROVIDERS            FROM",
		"text   openai → anthropic   the configuration",
		"image  stability → openai   the configuration",
		"audio  elevenlabs → openai  the configuration",
		"video  mock                 the configuration",
	)
	if r := worker("chains", "ls"); r.code != cli.OK || r.out != configured {
		t.Errorf("%+v\n%s", r, r.out)
	}
	if r := worker("chains", "set", "text", "anthropic, mock,openai"); r.code != cli.OK || !strings.Contains(r.out, "text   anthropic → mock → openai  ada@HOST, TIME\n") {
		t.Errorf("%+v\n%s", r, r.out)
	}
	if r := worker("chains", "ls", "-o", "json"); r.code != cli.OK || !strings.Contains(r.out, `"set_by": "ada@`) {
		t.Errorf("%+v\n%s", r, r.out)
	}
	if r := worker("chains", "reset", "text"); r.code != cli.OK || r.out != configured {
		t.Errorf("%+v\n%s", r, r.out)
	}
}

func TestWrongOrdersAreRefusedWithTheWayOut(t *testing.T) {
	t.Parallel()
	worker, _ := console(t, "")
	for args, says := range map[string]string{
		"limits set telex --rpm 5":      `"telex": there is no such provider; there are anthropic, elevenlabs, mock, openai, stability`,
		"limits reset telex":            `"telex": there is no such provider`,
		"limits set openai":             "no limit is given: name one, such as --rpm 500",
		"limits set openai --rpm=-5":    "--rpm -5: must be from 0 (no limit) to 1000000000000",
		"limits set openai --otpm=fast": "--otpm",
		"chains set poem openai":        "must be one of",
		"chains set text openai,telex":  `"telex" is not configured`,
		"chains set text openai,openai": "openai is there twice",
		"chains set image anthropic":    "anthropic cannot do image",
		"check telex":                   `"telex": there is no such provider`,
	} {
		if r := worker(strings.Fields(args)...); r.code != cli.Usage || !strings.Contains(r.err, says) {
			t.Errorf("%s: %+v, want %q", args, r, says)
		}
	}
}

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
	took := regexp.MustCompile(`\d\S*s`)
	if r := k.run("", "check"); r.code != cli.OK || !regexp.MustCompile(`openai +openai +T +ok\n`).MatchString(took.ReplaceAllString(r.out, "T")) ||
		!strings.Contains(r.out, "nobody to ask") || strings.Contains(r.out, "anthropic") {
		t.Errorf("%+v\n%s", r, r.out)
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
