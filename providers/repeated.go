package providers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// repeated returns the path of a field that stands twice in an object, such as messages[0].content;
// empty: none does. One reader of such a text takes the first and another the last, so that it could
// ask a vendor for something else than what was counted here. At the top, names that differ by case
// only are the same, as where they are read into a struct. The text is valid.
func repeated(text json.RawMessage) string {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return strings.TrimPrefix(repeatedBelow(d, strings.ToLower), ".")
}

// repeatedBelow reads one value of d, and returns the rest of the path below it. same makes names
// that are the same equal.
func repeatedBelow(d *json.Decoder, same func(string) string) string {
	token, err := d.Token()
	begin, _ := token.(json.Delim)
	if err != nil || begin == 0 {
		return ""
	}
	seen := map[string]bool{}
	for i := 0; d.More(); i++ {
		name := ""
		if begin == '{' {
			token, _ := d.Token()
			name, _ = token.(string)
			if seen[same(name)] {
				return "." + name
			}
			seen[same(name)] = true
		}
		found := repeatedBelow(d, func(name string) string { return name })
		switch {
		case found != "" && begin == '{':
			return "." + name + found
		case found != "":
			return fmt.Sprintf("[%d]%s", i, found)
		}
	}
	_, _ = d.Token() // its end
	return ""
}
