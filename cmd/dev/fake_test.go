package main

import (
	"strings"
	"testing"

	"oneflow/internal/fakeprovider"
	"oneflow/providers/keys"
	"oneflow/providers/kinds"
)

func TestAWrongFaultIsRefusedWithTheNamesOfAll(t *testing.T) {
	t.Parallel()
	for share, says := range map[fakeprovider.Fault]string{"no_such": "server_error", fakeprovider.Hang: "from 0 to 1"} {
		s := &session{}
		_, _, err := s.fakeProviders(0, 0, map[fakeprovider.Fault]float64{share: 2})
		if err == nil || !strings.HasPrefix(err.Error(), "--faults: ") || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", share, err)
		}
	}
}

func TestEachKindThatIsCalledHasAFake(t *testing.T) {
	t.Parallel()
	all, err := fakes()
	if err != nil {
		t.Fatal(err)
	}
	if all["openai"].path != "/openai/v1" || all["anthropic"].path != "/anthropic" {
		t.Errorf("%v", all)
	}
	for kind, fake := range all {
		d, _ := kinds.Of(kind)
		if err := keys.CheckForm(kind, d.Key, fake.key); err != nil {
			t.Error(err)
		}
	}
	for _, vendor := range fakeprovider.Vendors() {
		if d, ok := kinds.Of(string(vendor)); !ok || all[d.Kind].path == "" {
			t.Errorf("the fake server speaks for %s, which is no kind of provider that is called", vendor)
		}
	}
}
