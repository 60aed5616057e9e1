package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"oneflow/internal/cli"
	"oneflow/internal/fakeprovider"
)

const (
	goodKey  = "sk-good-0123456789abcdefghijklmnopqrstuvwxyzGOOD"
	otherKey = "sk-other-0123456789abcdefghijklmnopqrstuvwxyOTHR"
)

// keyring is a folder with a configuration whose key file is in it.
type keyring struct {
	t   *testing.T
	dir string
	env map[string]string
}

func newKeyring(t *testing.T, providers string) *keyring {
	t.Helper()
	k := &keyring{t: t, dir: t.TempDir(), env: map[string]string{}}
	text := "keys: " + k.file() + "\n" + providers
	if err := os.WriteFile(filepath.Join(k.dir, "oneflow.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *keyring) file() string { return filepath.Join(k.dir, "keys.json") }

func (k *keyring) run(stdin string, args ...string) result {
	k.t.Helper()
	var out, errs bytes.Buffer
	args = append(args, "--config", filepath.Join(k.dir, "oneflow.yaml"))
	err := run(k.t.Context(), args, cli.Env{In: strings.NewReader(stdin), Out: &out, Err: &errs, Getenv: func(v string) string { return k.env[v] }})
	r := result{cli.Code("worker", &errs, err), out.String(), errs.String()}
	if all := r.out + r.err; strings.Contains(all, goodKey[:20]) || strings.Contains(all, otherKey[:20]) {
		k.t.Errorf("worker %s shows a key:\n%s", strings.Join(args, " "), all)
	}
	return r
}

func TestKeysAreStoredPrivatelyAndShownByTheirEnd(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, "")
	if r := k.run(goodKey+"\n", "keys", "set", "openai"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	if info, err := os.Stat(k.file()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", info, err)
	}
	if r := k.run(otherKey+"\n", "keys", "set", "openai", "--add"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	if r := k.run("", "keys", "ls"); !strings.Contains(r.out, "…GOOD") || !strings.Contains(r.out, "…OTHR") {
		t.Errorf("%+v", r)
	}
	k.env["OPENAI_API_KEY"] = otherKey
	if r := k.run("", "keys", "ls"); !strings.Contains(r.out, "OPENAI_API_KEY") || !strings.Contains(r.out, "not used") {
		t.Errorf("the environment goes before the file, and that is not said: %+v", r)
	}
	k.env = nil
	if r := k.run("", "keys", "rm", "openai"); r.code != cli.OK {
		t.Errorf("%+v", r)
	}
	if r := k.run("", "keys", "ls"); r.out != "" || !strings.Contains(r.err, "no keys") {
		t.Errorf("%+v", r)
	}
}

func TestBadKeysAndKeyFilesAreRefusedWithTheWayOut(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, "")
	for stdin, args := range map[string][]string{
		"":                   {"keys", "set", "openai"},
		"not-a-key\n":        {"keys", "set", "openai"},
		goodKey + "\n":       {"keys", "set", "nobody"},
		"sk-with space in\n": {"keys", "set", "openai", "--force"},
	} {
		if r := k.run(stdin, args...); r.code == cli.OK {
			t.Errorf("%q was stored by %v: %+v", stdin, args, r)
		}
	}
	if _, err := os.Stat(k.file()); err == nil {
		t.Error("something was stored")
	}
	k.run(goodKey+"\n", "keys", "set", "openai")
	if err := os.Chmod(k.file(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"keys", "ls"}, {"keys", "check"}, {"run"}} {
		if r := k.run("", args...); r.code != cli.Unsafe || !strings.Contains(r.err, "chmod 600 "+k.file()) {
			t.Errorf("worker %v: %+v", args, r)
		}
	}
}

func TestAWorkerSaysWhichKeyItMisses(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, "")
	r := k.run("", "run", "--provider", "anthropic")
	if r.code != cli.Usage || !strings.Contains(r.err, "ANTHROPIC_API_KEY") || !strings.Contains(r.err, "worker keys set anthropic") {
		t.Errorf("%+v", r)
	}
}

func TestKeysAreCheckedWithTheProvider(t *testing.T) {
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
	if r := k.run("", "keys", "check"); r.code != cli.Usage {
		t.Errorf("%+v", r)
	}
	k.run(goodKey+"\n", "keys", "set", "openai")
	if r := k.run("", "keys", "check"); r.code != cli.OK || !strings.Contains(r.out, "ok") {
		t.Errorf("%+v", r)
	}
	k.run(otherKey+"\n", "keys", "set", "openai", "--add")
	if r := k.run("", "keys", "check", "-o", "ndjson"); r.code != cli.Failure || strings.Count(r.out, "\n") != 2 || !strings.Contains(r.out, `"key":"…OTHR","ok":false,"result":"`) || strings.Contains(r.out, otherKey) {
		t.Errorf("%+v", r)
	}
	r := k.run("", "keys", "check")
	if r.code != cli.Failure || !strings.Contains(r.out, "…OTHR") || !strings.Contains(r.out, "unauthorised") || !strings.Contains(r.err, "1 of 2") {
		t.Errorf("%+v", r)
	}
	asked := server.Count()
	if r := k.run("", "keys", "check", "--offline"); r.code != cli.OK || server.Count() != asked {
		t.Errorf("%+v; the provider was asked %d more times", r, server.Count()-asked)
	}
	for _, c := range server.Calls() {
		if c.Method != http.MethodGet {
			t.Errorf("the check made a %s to %s, which may cost", c.Method, c.Path)
		}
	}
}

func TestModelsAreListedWithPricesAndLimits(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, "providers: {openai: {limits: {rpm: 77}}}\n")
	r := k.run("", "models", "openai", "-o", "json")
	var rows []modelRow
	if err := json.Unmarshal([]byte(r.out), &rows); err != nil || len(rows) < 10 {
		t.Fatalf("%v: %+v", err, r)
	}
	for _, row := range rows {
		if row.Provider != "openai" || row.RPM != 77 || len(row.Rates) == 0 {
			t.Errorf("%+v", row)
		}
	}
	if r := k.run("", "models", "opnai"); r.code != cli.Usage || !strings.Contains(r.err, `no model of "opnai" has a price here; there are models of anthropic, `) {
		t.Errorf("%+v", r)
	}
	if r := k.run("", "models", "mock"); r.code != cli.OK || !strings.Contains(r.out, "input_tokens 0.1") {
		t.Errorf("%+v", r)
	}
}

func TestTheBuiltInPricesAreSummedUpByVendor(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, "")
	r := k.run("", "prices", "check")
	if r.code != cli.OK || strings.Count(r.out, "\n") > 20 || !strings.HasPrefix(r.out, "VENDOR ") || !strings.Contains(r.out, "\nopenai ") {
		t.Errorf("%+v", r)
	}
	if r := k.run("", "prices", "check", "opnai"); r.code != cli.Usage || !strings.Contains(r.err, `"opnai": no price of this vendor is listed; there are those of anthropic`) {
		t.Errorf("%+v", r)
	}
}

func TestStalePricesAreNamedAndAFileCorrectsThem(t *testing.T) {
	t.Parallel()
	row := func(checked string) string {
		return `{"prices": [{"id": "local/m/input@2026-01-01", "provider": "local", "match": ["m"], "unit": "input_tokens",
			"rate": "1", "from": "2026-01-01", "checked": "` + checked + `", "source": "the invoice"}]}`
	}
	k := newKeyring(t, "prices: prices.json\n")
	prices := filepath.Join(k.dir, "prices.json")
	if err := os.WriteFile(filepath.Join(k.dir, "oneflow.yaml"), []byte("prices: "+prices+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for checked, stale := range map[string]bool{
		time.Now().AddDate(0, 0, -100).Format(time.DateOnly): true,
		time.Now().AddDate(0, 0, -10).Format(time.DateOnly):  false,
	} {
		if err := os.WriteFile(prices, []byte(row(checked)), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := k.run("", "prices", "check", "local"); r.code != cli.OK || strings.Contains(r.out, "local/m/input@2026-01-01") != stale {
			t.Errorf("checked %s: %+v", checked, r)
		}
		old := map[bool]string{true: "1", false: "0"}[stale]
		if r := k.run("", "prices", "check"); r.code != cli.OK || !regexp.MustCompile(`(?m)^local +1 +`+old+` +`+checked+` *$`).MatchString(r.out) {
			t.Errorf("checked %s: %+v", checked, r)
		}
		if r := k.run("", "models", "local"); !strings.Contains(r.out, "input_tokens 1") {
			t.Errorf("%+v", r)
		}
	}
}

func TestPricesAreImportedAndTheirDifferencesShown(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, "providers: {fast: {kind: openai, compatible: true, base_url: \"http://127.0.0.1:1\", prices_as: groq}}\n")
	file, over := filepath.Join(k.dir, "genai.json"), filepath.Join(k.dir, "over.json")
	if err := os.WriteFile(file, []byte(`[
		{"id": "groq", "models": [{"id": "llama-3.3-70b-versatile", "match": {"equals": "llama-3.3-70b-versatile"}, "prices": {"input_mtok": 0.5, "output_mtok": 0.79, "storage_searches_kcount": 1}}]},
		{"id": "together", "models": [{"id": "m", "match": {"starts_with": "m"}, "prices": {"input_mtok": 1}}]}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := k.run("", "prices", "import", file)
	if r.code != cli.OK || !regexp.MustCompile(`groq +llama-3.3-70b-versatile +input_tokens +0.59 +0.5 +2020-01-01`).MatchString(r.out) || strings.Contains(r.out, "together") ||
		strings.Contains(r.out, "output_tokens") || !strings.Contains(r.err, "not taken over: groq llama-3.3-70b-versatile: storage_searches_kcount is not counted here") ||
		!strings.Contains(r.err, "1 change; nothing was written") {
		t.Errorf("%+v", r)
	}
	nowhere := filepath.Join(filepath.Dir(over), "none", "x.json")
	if r := k.run("", "prices", "import", file, "--provider", "groq", "--to", nowhere); r.code != cli.Failure || !strings.Contains(r.err, "write "+nowhere+": no such file") || strings.Contains(r.err, "/.") {
		t.Errorf("to a folder that is not there: %+v", r)
	}
	if r := k.run("", "prices", "import", file, "--provider", "groq", "--to", over); r.code != cli.OK || !strings.Contains(r.err, "1 change written to "+over+": set `prices:`") {
		t.Errorf("%+v", r)
	}
	if err := os.WriteFile(filepath.Join(k.dir, "oneflow.yaml"), []byte("prices: "+over+"\nproviders: {fast: {kind: openai, compatible: true, base_url: \"http://127.0.0.1:1\", prices_as: groq}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := k.run("", "prices", "import", file); r.code != cli.OK || !strings.Contains(r.out, "says nothing that the list does not: 2 prices compared") {
		t.Errorf("again: %+v", r)
	}
	if r := k.run("", "models", "groq"); r.code != cli.OK || !regexp.MustCompile(`llama-3.3-70b-versatile .*input_tokens 0.5,`).MatchString(r.out) {
		t.Errorf("%+v", r)
	}
	if r := k.run("", "prices", "import", file+"x"); r.code != cli.Usage {
		t.Errorf("%+v", r)
	}
}

func TestModelsThatCannotBeCalledAreHidden(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, "")
	shown, all := k.run("", "models").out, k.run("", "models", "--all").out
	for model, hidden := range map[string]bool{
		"gpt-6-luna": false, "gemini-3.8-flash*": false, "gpt-image-2": false, "eleven_v3": false,
		"gpt-3.5-turbo": true, "gpt-image-1": true, "text-embedding-3-small": false, "gemini-embedding-001": false, "gemini-2.0-flash-lite*": true, "llama-3.3-70b-versatile": true, "sora-2": true,
	} {
		line := regexp.MustCompile(`(?m)^\S+ +` + regexp.QuoteMeta(model) + ` `)
		if line.MatchString(shown) == hidden || !line.MatchString(all) && model != "sora-2" {
			t.Errorf("%s: hidden %v, want %v; listed of all: %v", model, !line.MatchString(shown), hidden, line.MatchString(all))
		}
	}
	if !regexp.MustCompile(`(?m)^openai +gpt-4o +.* 2027-01-14 `).MatchString(shown) {
		t.Error("the day on which gpt-4o is shut down is not shown")
	}
}
