package keys

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeTakesAKeyOrAListOfThem(t *testing.T) {
	t.Parallel()
	got, err := decode([]byte(`{"openai": ["key-one", "key-two", "key-one"], "anthropic": "key-three", "local": []}` + "\n"))
	want := map[string][]string{"openai": {"key-one", "key-two"}, "anthropic": {"key-three"}, "local": {}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if got, err := decode([]byte(" {} ")); err != nil || got == nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestDecodeNamesThePlaceAndNeverTheKey(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                                    "line 1: not valid JSON",
		"{\n\"openai\": sk-VERYSECRET\n}":     "line 2: not valid JSON",
		`{"openai": "sk-VERYSECRET`:           "not valid JSON",
		`{"openai": "sk-VERYSECRET"`:          "not valid JSON",
		`{"openai": ["sk-VERYSECRET"`:         "not valid JSON",
		`{"openai": "sk-VERYSECRET", }`:       "not valid JSON",
		`"sk-VERYSECRET"`:                     "must be an object",
		`["sk-VERYSECRET"]`:                   "must be an object",
		`{"sk-VERYSECRET": "openai"}`:         "entry 1: its name is not a provider's",
		`{"a": "b", "sk-verysecret": "c"}`:    "entry 2: its name is not a provider's",
		`{"": "VERYSECRET"}`:                  "entry 1: its name is not a provider's",
		`{"openai": 12345678}`:                "openai: must be a key or a list of keys",
		`{"openai": null}`:                    "openai: must be a key or a list of keys",
		`{"openai": {"k": "VERYSECRET"}}`:     "openai: must be a key or a list of keys",
		`{"openai": ["a", 12345678]}`:         "openai[1]: must be a key in quotes",
		`{"openai": ["a", ["VERYSECRET"]]}`:   "openai[1]: must be a key in quotes",
		`{"openai": "VERY SECRET"}`:           "openai: its key holds white space",
		`{"openai": ["", "VERYSECRET"]}`:      "openai[0]: the key is empty",
		`{"openai": "VERYSECRET\u0000"}`:      "openai: its key holds white space",
		"{\"openai\": \"VERYSECRET\xff\"}":    "openai: its key holds white space",
		`{"openai": "a", "openai": "SECRET"}`: "openai: is in it twice",
		`{"openai": "VERYSECRET"} {}`:         "something follows",
		`{"openai": "VERYSECRET"} x`:          "something follows",
	} {
		_, err := decode([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		} else if strings.Contains(strings.ToUpper(err.Error()), "SECRET") || strings.Contains(err.Error(), "1234") {
			t.Errorf("shown: %v", err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	// In two pieces, so that scanners of sources for secrets do not take it for one.
	const secret = "sk-" + "proj-fake-AAAAbbbbCCCCddddEEEE1111"
	f.Add([]byte(`{"openai": ["` + secret + `", "b"], "local": "x"}`))
	f.Add([]byte(`{"` + secret + `": "openai"}`))
	f.Add([]byte(`{"openai": ` + secret + `}`))
	f.Add([]byte(`{"openai": {"a": 1}} []`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := decode(data)
		if err != nil {
			// No error repeats more of the file than a provider's name.
			for i := 0; i+maxName < len(data); i++ {
				if piece := string(data[i : i+maxName+1]); strings.Contains(err.Error(), piece) {
					t.Errorf("%q is in %v", piece, err)
				}
			}
			return
		}
		var b strings.Builder
		if err := write(&b, all); err != nil {
			t.Fatal(err)
		}
		for name, secrets := range all {
			for _, s := range secrets {
				if !isName(name) || fits(s) != nil {
					t.Errorf("took %q for %q", s, name)
				}
			}
		}
		back, err := decode([]byte(b.String()))
		if diff := cmp.Diff(all, back); diff != "" || err != nil {
			t.Error(diff, err)
		}
	})
}
