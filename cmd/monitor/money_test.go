package main

import (
	"encoding/json"
	"strings"
	"testing"

	"oneflow/internal/cli"
)

func TestBudgetsAreSetListedAndRemoved(t *testing.T) {
	t.Parallel()
	monitor, _ := console(t, "")
	if code, out, errs := monitor("budget", "ls"); code != cli.OK || !strings.HasPrefix(out, "no budget is set: `monitor budget set --daily 50`") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	code, out, errs := monitor("budget", "set", "--daily", "50", "--total", "$1000", "--provider", "openai", "--timezone", "Europe/Paris")
	if lines := strings.Split(out, "\n"); code != cli.OK || len(lines) < 3 || !strings.Contains(lines[0], "LEFT") ||
		!strings.Contains(lines[1], "provider openai") || !strings.Contains(lines[1], "$50.00") || !strings.Contains(lines[2], "total") {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	code, out, _ = monitor("budget", "ls", "-o", "json")
	var list []struct {
		ID                    int64
		Period, Limit, Left   string
		Spent, Reserved, Ends string
		Blocks                bool
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != cli.OK || len(list) != 2 ||
		list[0].Period != "day" || list[0].Left != "50" || !list[0].Blocks || list[0].Ends == "" || list[1].Ends != "" {
		t.Errorf("%v %d %s", err, code, out)
	}
	// The same scope and period is the same budget.
	if code, out, _ = monitor("budget", "set", "--daily", "60", "--provider", "openai", "--warn"); code != cli.OK || !strings.Contains(out, "warns only") {
		t.Errorf("%d %s", code, out)
	}
	if _, out, _ = monitor("budget", "ls"); strings.Count(out, "\n") != 3 {
		t.Errorf("want two budgets:\n%s", out)
	}
	if code, out, _ = monitor("budget", "rm", "1"); code != cli.OK || out != "budget 1 is removed\n" {
		t.Errorf("%d %s", code, out)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"budget", "rm", "1"}, "no such budget"},
		{[]string{"budget", "set"}, "such as --daily 50"},
		{[]string{"budget", "set", "--daily", "5", "--provider", "opnai"}, "is not configured; there are anthropic"},
		{[]string{"budget", "set", "--daily", "5", "--timezone", "Mars"}, `time zone "Mars": not known`},
		{[]string{"budget", "set", "--daily", "much"}, "much"},
		{[]string{"budget", "set", "--daily", "1000000000"}, "must be from $0 to $100,000,000.00"},
	} {
		if code, _, errs := monitor(c.args...); code != cli.Usage || !strings.Contains(errs, c.says) {
			t.Errorf("%v: %d %s, want %q", c.args, code, errs, c.says)
		}
	}
}

func TestWalletsArePaidIntoAndShown(t *testing.T) {
	t.Parallel()
	monitor, _ := console(t, "")
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"wallet ls", cli.OK, "no account has a wallet"},
		{"wallet show alpha", cli.Usage, "not limited by a balance"},
		{"wallet statement alpha", cli.Usage, "not limited by a balance"},
		{"wallet create alpha", cli.OK, "alpha    $0.00"},
		{"wallet deposit alpha 12.50 --note first", cli.OK, "alpha    $12.50"},
		{"wallet withdraw alpha 13", cli.Usage, "more than the wallet holds"},
		{"wallet withdraw alpha 2.50", cli.OK, "alpha    $10.00"},
		{"wallet deposit alpha 0", cli.Usage, "must be above $0"},
		{"wallet deposit a/b 1", cli.Usage, `account "a/b"`},
		{"wallet statement alpha", cli.OK, "first"},
		{"wallet statement alpha -o json", cli.OK, `"amount": "-2.5"`},
		{"wallet show alpha -o json", cli.OK, `"balance": "10"`},
	} {
		code, out, errs := monitor(strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%s: %d\n%s%s\nwant %d and %q", c.args, code, out, errs, c.code, c.says)
		}
	}
}

func TestAlertsAreListedAndBoundsRaised(t *testing.T) {
	t.Parallel()
	monitor, _ := console(t, "")
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"alerts", cli.OK, "there are no alerts"},
		{"alerts -o json", cli.OK, "[]"},
		{"alerts --limit 0", cli.Usage, "must be from 1"},
		{"budget bound openai gpt-6-luna 150", cli.OK, "150 % of the list's bound are reserved for calls of gpt-6-luna at openai"},
		{"budget bound openai gpt-6-luna 50", cli.Usage, "must be from 100"},
	} {
		if code, out, errs := monitor(strings.Fields(c.args)...); code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%s: %d\n%s%s\nwant %d and %q", c.args, code, out, errs, c.code, c.says)
		}
	}
}

func TestFiguresAreExportedForOtherPrograms(t *testing.T) {
	t.Parallel()
	monitor, _ := console(t, "")
	if code, out, errs := monitor("export-metrics"); code != cli.OK || out != "[]\n" {
		t.Errorf("%d %s %s", code, out, errs)
	}
	code, out, _ := monitor("export-metrics", "--format", "csv", "--since", "7d")
	if code != cli.OK || !strings.HasPrefix(out, "hour,provider,model,requests,succeeded,") || strings.Count(out, "\n") != 1 {
		t.Errorf("%d %s", code, out)
	}
	if code, _, errs := monitor("export-metrics", "--since", "0s"); code != cli.Usage || !strings.Contains(errs, "must be more than 0") {
		t.Errorf("%d %s", code, errs)
	}
}
