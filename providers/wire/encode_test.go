package wire_test

import (
	"testing"

	"oneflow/providers/wire"
)

func TestBase64IsReadInEverySpelling(t *testing.T) {
	t.Parallel()
	want := "\x89PNG\r\n\x1a\n\xfb\xff\xfe and so"
	for name, s := range map[string]string{
		"standard":            "iVBORw0KGgr7//4gYW5kIHNv",
		"URL-safe":            "iVBORw0KGgr7__4gYW5kIHNv",
		"URL-safe with -":     "iVBORw0KGgr7__4gYW5kIHNv",
		"in lines":            "iVBORw0KGgr7\r\n//4gYW5k\r\nIHNv\r\n",
		"in lines with \\n":   "iVBORw0K\nGgr7//4g\nYW5kIHNv\n",
		"with blanks":         "  iVBORw0KGgr7 //4gYW5kIHNv\t",
		"a data URL":          "data:image/png;base64,iVBORw0KGgr7//4gYW5kIHNv",
		"with parameters":     "data:image/png;name=a.png;charset=utf-8;base64,iVBORw0KGgr7//4gYW5kIHNv",
		"in capitals":         "DATA:image/PNG;BASE64,iVBORw0KGgr7//4gYW5kIHNv",
		"without a type":      "data:;base64,iVBORw0KGgr7//4gYW5kIHNv",
		"escaped":             "data:image/png;base64,iVBORw0KGgr7%2F%2F4gYW5kIHNv",
		"URL-safe in a URL":   "data:image/png;base64,iVBORw0KGgr7__4gYW5kIHNv",
		"a URL with a blank":  "data:image/png;base64, iVBORw0KGgr7//4gYW5kIHNv",
		"not base64 in a URL": "data:image/png,%89PNG%0D%0A%1A%0A%FB%FF%FE%20and%20so",
	} {
		if got, err := wire.Base64(s); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for s, want := range map[string]string{"YQ==": "a", "YQ=": "a", "YQ": "a", "YWI=": "ab", "YWI": "ab", "YQ==\n": "a"} {
		if got, err := wire.Base64(s); err != nil || string(got) != want {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "====", "@@@", "a", "data:", "data:image/png;base64,", "data:x;base64,data:x;base64,YQ==", "https://h/a.png", "é", "data:a,%zz"} {
		if got, err := wire.Base64(s); err == nil {
			t.Errorf("%q: got %q", s, got)
		}
	}
}
