package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/internal/storetest"
	"oneflow/providers"
	"oneflow/providers/kinds"
	"oneflow/store"
)

// console runs the command as ada on a new database and a configuration. What it
// prints has TIME for times and HOST for the machine's name.
func console(t *testing.T, config string) (run func(args ...string) (code int, out, errs string), database string) {
	t.Helper()
	database = storetest.Database(t)
	path := filepath.Join(t.TempDir(), "oneflow.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	stamp, clock := regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)`), regexp.MustCompile(`\d\d:\d\d:\d\d`)
	return func(args ...string) (int, string, string) {
		cmd := &command{env: map[string]string{"USER": "ada"}}
		code := cmd.run(t.Context(), append([]string{"--database-url", database, "--config", path}, args...)...)
		out := clock.ReplaceAllString(stamp.ReplaceAllString(cmd.out.String(), "TIME"), "TIME")
		return code, regexp.MustCompile(`ada@[^\s,"]+`).ReplaceAllString(out, "ada@HOST"), cmd.err.String()
	}, database
}

func table(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

func TestLimitsAreSetListedAndReset(t *testing.T) {
	t.Parallel()
	monitor, database := console(t, "providers: {openai: {limits: {tpm: 90000}}}\n")
	if code, out, errs := monitor("limits", "set", "openai", "--rpm", "500", "--concurrent", "0"); code != cli.OK || out != table(
		"PROVIDER  LIMIT       CONFIGURED  LEARNED  PINNED    IN FORCE",
		"openai    rpm         60          -        500       500 (pinned)",
		"          tpm         90,000      -        -         90,000 (configured)",
		"          concurrent  -           -        no limit  no limit (pinned)",
		"openai: pinned by ada@HOST at TIME",
	) {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	db, err := store.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Learn(t.Context(), "openai", fleet.Learned{Limits: providers.Limits{RPM: 3000, TPM: 40_000}}); err != nil {
		t.Fatal(err)
	}
	code, out, _ := monitor("limits", "ls")
	for _, want := range []string{
		"\nanthropic   rpm         50          -        -         50 (each model)\n",
		"\nopenai      rpm         60          3,000    500       500 (pinned)\n",
		"\n            tpm         90,000      40,000   -         40,000 (learned)\n",
	} {
		if code != cli.OK || !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	var rows []limitsRow
	_, all, _ := monitor("limits", "ls", "-o", "json")
	if err := json.Unmarshal([]byte(strings.ReplaceAll(all, "TIME", "2026-01-01T00:00:00Z")), &rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if want := (providers.Limits{RPM: 500, TPM: 40_000}); row.Provider == "openai" && row.InForce != want {
			t.Errorf("%+v", row)
		}
	}
	if code, out, errs := monitor("limits", "reset", "openai"); code != cli.OK || out != table(
		"PROVIDER  LIMIT  CONFIGURED  LEARNED  PINNED  IN FORCE",
		"openai    rpm    60          -        -       60 (each model)",
		"          tpm    90,000      -        -       90,000 (configured)",
	) {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
}

func TestLimitsOfAModelAreSetListedAndReset(t *testing.T) {
	t.Parallel()
	monitor, database := console(t, "providers: {openai: {model_limits: {gpt-6-luna: {rpm: 9000}}}, stability: {}}\n")
	provider := []string{
		"PROVIDER  LIMIT  CONFIGURED  LEARNED  PINNED  IN FORCE",
		"openai    rpm    60          -        -       60 (each model)",
	}
	pinned := append(slices.Clone(provider), "",
		"PROVIDER  MODEL@KEY   LIMIT  CONFIGURED  LEARNED  PINNED    IN FORCE",
		"openai    gpt-6-sol   rpm    60          -        500       500",
		"openai    gpt-6-sol   tpm    -           -        no limit  no limit",
		"openai    gpt-6-luna  rpm    9,000       -        -         9,000",
	)
	// A dated snapshot is counted with its model.
	code, out, errs := monitor("limits", "set", "openai", "--model", "gpt-6-sol-2026-10-01", "--rpm", "500", "--tpm", "0")
	if code != cli.OK || out != table(pinned...) {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	db, err := store.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Learn(t.Context(), "openai", fleet.Learned{Scope: "gpt-6-luna", Limits: providers.Limits{RPM: 30_000}}); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := monitor("limits", "ls"); code != cli.OK || !strings.Contains(out, "openai    gpt-6-luna  rpm    9,000       30,000   -         9,000\n") {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	if code, out, errs := monitor("limits", "reset", "openai", "--model", "gpt-6-sol"); code != cli.OK || strings.Contains(out, "sol") || !strings.Contains(out, "30,000") {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
}

func TestChainsAreSetListedAndReset(t *testing.T) {
	t.Parallel()
	monitor, _ := console(t, "chains: {video: [mock]}\n")
	configured := table(
		"TASK           PROVIDERS                    FROM",
		"text           openai → anthropic → gemini  the configuration",
		"image          stability → openai → gemini  the configuration",
		"audio          elevenlabs                   the configuration",
		"video          mock                         the configuration",
		"embedding      openai                       the configuration",
		"transcription  openai → gemini              the configuration",
	)
	if code, out, errs := monitor("chains", "ls"); code != cli.OK || out != configured {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	if code, out, errs := monitor("chains", "set", "text", "anthropic, mock,openai"); code != cli.OK || !strings.Contains(out, "text           anthropic → mock → openai    ada@HOST, TIME\n") {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	if code, out, errs := monitor("chains", "ls", "-o", "json"); code != cli.OK || !strings.Contains(out, `"set_by": "ada@`) {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	if code, out, errs := monitor("chains", "reset", "text"); code != cli.OK || out != configured {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
}

func TestWrongOrdersAreRefusedWithTheWayOut(t *testing.T) {
	t.Parallel()
	monitor, _ := console(t, "")
	for args, says := range map[string]string{
		"limits set telex --rpm 5":                  `"telex": there is no such provider; there are ` + strings.Join(kinds.Configurable(), ", "),
		"limits reset telex":                        `"telex": there is no such provider`,
		"limits set openai":                         "no limit is given: name one, such as --rpm 500",
		"limits set stability --model core --rpm 5": "stability counts the calls of all its models together: pin its limits without a model",
		"limits set openai --model a@b --rpm 5":     "\"a@b\" is no name of a model",
		"limits reset telex --model m":              `"telex": is not configured here`,
		"limits set openai --rpm=-5":                "rpm -5: must be from 0 (no limit) to 1000000000000",
		"limits set openai --otpm=fast":             "--otpm",
		"chains set poem openai":                    ": must be ",
		"chains set text openai,telex":              `"telex" is not configured`,
		"chains set text openai,openai":             "openai is there twice",
		"chains set image anthropic":                "anthropic cannot do image",
	} {
		if code, _, errs := monitor(strings.Fields(args)...); code != cli.Usage || !strings.Contains(errs, says) {
			t.Errorf("%s: %d %s, want %q", args, code, errs, says)
		}
	}
}
