package batches

import (
	"strings"
	"testing"

	"oneflow/batches/rows"
)

func TestAConditionComparesNumbersAndTexts(t *testing.T) {
	t.Parallel()
	row := rows.Row{Fields: rows.Fields{"answer": []byte(`"{\"score\": 7.5, \"label\": \"Spam\"}"`), "n": []byte(`10`), "text": []byte(`" Yes, it is. "`)}}
	for text, want := range map[string]string{
		"answer.score >= 7": "true", "answer.score < 7.5": "false", "answer.score == 7.50": "true", "answer.score != 7.5": "false",
		"answer.label == spam": "true", `answer.label == "spam"`: "true", "answer.label != ham": "true", "n > 9": "true", "n <= 9": "false",
		"n >= 10": "true", "n <= 10": "true", "n > 10": "false", "n < 10": "false", "n == 10": "true", "n != 10": "false",
		"text contains yes": "true", "text contains 'no'": "false",
		"answer.label > 1": "no number", "missing == 1": "is not there", "answer.none == 1": "is not there",
		"answer.score >= good": "compares numbers", "answer": "must be a column", ".x == 1": "no name", "": "must be a column",
	} {
		c, err := parseCondition(text)
		got := ""
		if err == nil {
			var holds bool
			if holds, err = c.holds(row); err == nil {
				got = map[bool]string{true: "true", false: "false"}[holds]
			}
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
