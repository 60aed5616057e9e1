package main

import (
	"testing"

	"oneflow/internal/fakeprovider"
	"oneflow/providers/keys"
	"oneflow/providers/kinds"
)

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
