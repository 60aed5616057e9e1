package batches_test

import (
	"bytes"
	"testing"

	"oneflow/batches"
	"oneflow/jobs"
	"oneflow/providers"
)

// Excel takes a file for one in an old code page, all of a line for one cell and 0.5 for a text, unless
// it is written for the country where it runs; and a list for a formula.
func TestATableForExcelIsOneThatItOpensByItself(t *testing.T) {
	t.Parallel()
	rows := withColumns()[:1]
	for _, text := range []string{"- Grüße\n- 2", "=1+1", "-5,3 %", "+49"} {
		rows = append(rows, batches.Record{Task: providers.Text, State: jobs.Succeeded, Text: text, Cost: 2_000, Own: []byte(`{"label":"@x","score":1e-7,"text":-2.5}`)})
	}
	for excel, want := range map[batches.Decimal]string{
		batches.DecimalComma: "\ufeffcustom_id;label;n;score;good;text;result_text;cost_usd\r\nrow 1;\"x, \"\"y\"\"\";1;0,5;true;mine;hello;0,001234567\r\n" +
			";'@x;;1e-7;;-2,5;\"'- Grüße\r\n- 2\";0,000002\r\n;'@x;;1e-7;;-2,5;'=1+1;0,000002\r\n;'@x;;1e-7;;-2,5;-5,3 %;0,000002\r\n;'@x;;1e-7;;-2,5;+49;0,000002\r\n",
		batches.DecimalPoint: "\ufeffcustom_id,label,n,score,good,text,result_text,cost_usd\r\nrow 1,\"x, \"\"y\"\"\",1,0.5,true,mine,hello,0.001234567\r\n" +
			",'@x,,1e-7,,-2.5,\"'- Grüße\r\n- 2\",0.000002\r\n,'@x,,1e-7,,-2.5,'=1+1,0.000002\r\n,'@x,,1e-7,,-2.5,\"-5,3 %\",0.000002\r\n,'@x,,1e-7,,-2.5,+49,0.000002\r\n",
	} {
		var out bytes.Buffer
		if _, err := (batches.Export{Format: batches.FormatCSV, Excel: excel, With: []string{"text", "cost_usd"}}).Write(t.Context(), rows, "b1", &out); err != nil || out.String() != want {
			t.Errorf("%s: %v\ngot  %q\nwant %q", excel, err, out.String(), want)
		}
	}
}
