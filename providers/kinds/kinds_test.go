package kinds_test

import (
	"slices"
	"strings"
	"testing"

	"oneflow/providers"
	"oneflow/providers/kinds"
)

func TestEachKindDescribesItself(t *testing.T) {
	t.Parallel()
	names := kinds.Names()
	if all := kinds.All(); len(all) != len(names) || len(slices.Compact(names)) != len(all) {
		t.Fatalf("%d kinds of the names %v", len(all), names)
	}
	for _, d := range kinds.All() {
		t.Run(d.Kind, func(t *testing.T) {
			t.Parallel()
			if found, ok := kinds.Of(d.Kind); !ok || found.Kind != d.Kind {
				t.Errorf("found by its name: %q", found.Kind)
			}
			tasks := d.Capabilities().Tasks
			if len(tasks) == 0 || d.New == nil || d.Limits.RPM <= 0 || d.Latency <= 0 {
				t.Errorf("tasks %v, limits %v, latency %s: each kind has some, and a client", tasks, d.Limits, d.Latency)
			}
			for task, can := range tasks {
				if can.DefaultModel == "" && slices.Contains(d.Chains, task) || can.DefaultModel != "" && d.Compatible {
					t.Errorf("%s: the default model is %q", task, can.DefaultModel)
				}
			}
			if (d.BaseURL == "") != (d.Local || d.Compatible) {
				t.Errorf("its address is %q", d.BaseURL)
			}
			if base, isCompatible := strings.CutSuffix(d.Kind, "-compatible"); isCompatible != d.Compatible {
				t.Error("only compatible kinds are named so")
			} else if name, ok := kinds.CompatibleWith(base); d.Compatible && (!ok || name != d.Kind) {
				t.Errorf("compatible with %s is %q", base, name)
			}
			for _, task := range d.Chains {
				if _, ok := tasks[task]; !ok || d.Local || d.Compatible {
					t.Errorf("it is in the chain for %s", task)
				}
			}
			checkStandIns(t, d)
		})
	}
	for _, unknown := range []string{"", "OpenAI", "nobody", "mock-compatible"} {
		if _, ok := kinds.Of(unknown); ok {
			t.Errorf("there is a kind %q", unknown)
		}
	}
}

// checkStandIns makes sure that a model is in one class, and that what stands in is
// one of the class and on offer.
func checkStandIns(t *testing.T, d providers.Descriptor) {
	t.Helper()
	seen := map[string]bool{}
	for _, s := range d.StandIns {
		if !slices.Contains(s.Models, s.Model) {
			t.Errorf("%s stands in for %s models of %s and is none", s.Model, s.Class, s.Task)
		}
		for _, model := range s.Models {
			if seen[model] {
				t.Errorf("%s is in two classes", model)
			}
			seen[model] = true
			if err := d.Capabilities().Check(providers.Request{Task: s.Task, Model: model, Prompt: "p"}); err != nil {
				t.Errorf("%s is in a class and not on offer: %v", model, err)
			}
		}
	}
}
