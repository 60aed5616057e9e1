package main

import (
	"encoding/json"
	"strings"
	"testing"

	"oneflow/internal/cli"
)

func TestATokenIsShownOnceListedAndRevoked(t *testing.T) {
	t.Parallel()
	monitor, _ := console(t, "")
	if _, out, _ := monitor("token", "ls"); !strings.Contains(out, "monitor token create") {
		t.Errorf("without a token it does not say what to do: %s", out)
	}
	code, out, errs := monitor("token", "create", "grafana", "--scope", "operate", "--account", "research", "--expires", "30d", "-o", "json")
	var made struct{ Token, Prefix, Scope, Account string }
	if err := json.Unmarshal([]byte(out), &made); code != cli.OK || err != nil || !strings.HasPrefix(made.Token, made.Prefix+"_") || made.Scope != "operate" || made.Account != "research" {
		t.Fatalf("%d %s %s: %v", code, out, errs, err)
	}
	code, out, errs = monitor("token", "create", "ada's browser", "--expires", "never")
	if code != cli.OK || strings.Count(out, "_") != 2 || !strings.Contains(errs, "scope read for all accounts, expires never") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	_, out, _ = monitor("token", "ls")
	if strings.Contains(out, made.Token) || !strings.Contains(out, made.Prefix) || !strings.Contains(out, "research") || !strings.Contains(out, "valid") {
		t.Error(out)
	}
	if code, _, errs := monitor("token", "revoke", made.Token); code != cli.OK {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := monitor("token", "revoke", made.Prefix); code != cli.Usage || !strings.Contains(errs, "token ls") {
		t.Errorf("revoked twice: %d %s", code, errs)
	}
	if _, out, _ = monitor("token", "ls"); !strings.Contains(out, "revoked") {
		t.Error(out)
	}
	_, out, _ = monitor("audit")
	if strings.Count(out, "token create") != 2 || strings.Count(out, "token revoke") != 1 || strings.Contains(out, made.Token) {
		t.Error(out)
	}
}

func TestWrongTokensAreNotMade(t *testing.T) {
	t.Parallel()
	monitor, _ := console(t, "")
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"token", "create", ""}, "1 to 100 bytes"},
		{[]string{"token", "create", "a\nb"}, "one line"},
		{[]string{"token", "create", "a", "--scope", "root"}, "read"},
		{[]string{"token", "create", "a", "--scope", "admin", "--account", "x"}, "all accounts"},
		{[]string{"token", "create", "a", "--expires", "-1d"}, "--expires"},
		{[]string{"token", "create", "a", "--expires", "soon"}, "never"},
		{[]string{"audit", "--limit", "0"}, "1 to 10000"},
	} {
		if code, out, errs := monitor(c.args...); code != cli.Usage || !strings.Contains(errs, c.says) || out != "" {
			t.Errorf("%q: %d %s %s", c.args, code, out, errs)
		}
	}
}
