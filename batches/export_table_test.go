package batches_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/internal/golden"
)

// withColumns are records with columns of the rows' own.
func withColumns() records {
	r := records{samples()[0], samples()[2], samples()[7], samples()[1]}
	for i, own := range []string{`{"label":"x, \"y\"","n":1,"score":0.5,"good":true,"text":"mine"}`, `{"label":null,"n":null,"text":[1]}`, "", `{"label":"","n":-7,"score":2,"good":false,"text":3}`} {
		r[i].Own, r[i].Prompt, r[i].Row = []byte(own), "why?\nso", int64(i+1)
		r[i].Usage = []byte(`{"input_tokens":3,"output_tokens":5}`)
	}
	return r
}

func TestTablesHaveTheInputsColumnsInOrderAndTheResultsBeside(t *testing.T) {
	t.Parallel()
	for _, f := range []batches.Format{batches.FormatJSONL, batches.FormatCSV, batches.FormatAnthropic} {
		var out bytes.Buffer
		n, err := batches.Export{Format: f}.Write(t.Context(), withColumns(), "b1", &out)
		if err != nil || n.Lines != 4 || n.Unfinished != 1 {
			t.Fatalf("%+v, %v", n, err)
		}
		golden.Compare(t, "export."+string(f)+".golden", out.String())
	}
	var out, failed bytes.Buffer
	n, err := batches.Export{Format: batches.FormatCSV, With: []string{"text", "cost_usd"}, Errors: &failed}.Write(t.Context(), withColumns(), "b1", &out)
	if err != nil || n.Lines != 4 || n.Errors != 1 {
		t.Fatalf("%+v, %v", n, err)
	}
	const header = "custom_id,label,n,score,good,text,result_text,cost_usd\n"
	if want := header + "row 1,\"x, \"\"y\"\"\",1,0.5,true,mine,hello,0.001234567\n,,,,,,,0\n,,-7,2,false,3,,0.04\n"; out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
	if want := header + "row 3,,,,,[1],,0\n"; failed.String() != want {
		t.Errorf("errors: %q", failed.String())
	}
}

func TestAParquetExportIsReadBackWithItsTypes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if _, err := (batches.Export{Format: batches.FormatParquet, With: []string{"row", "text", "cost_usd", "state"}}).Write(t.Context(), withColumns(), "b1", &out); err != nil {
		t.Fatal(err)
	}
	s, err := rows.Read("out.parquet", bytes.NewReader(out.Bytes()), rows.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var got []string
	for {
		row, err := s.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		line := ""
		for _, name := range row.Names {
			line += name + "=" + string(row.Fields[name]) + " "
		}
		got = append(got, line)
	}
	want := []string{
		`custom_id="row 1" label="x, \"y\"" n=1 score=0.5 good=true text="mine" row=1 result_text="hello" cost_usd=0.001234567 state="succeeded" `,
		`custom_id="row 3" label=null n=null score=null good=null text="[1]" row=2 result_text=null cost_usd=0 state="failed" `,
		`custom_id=null label=null n=null score=null good=null text=null row=3 result_text=null cost_usd=0 state="queued" `,
		`custom_id=null label="" n=-7 score=2 good=false text="3" row=4 result_text=null cost_usd=0.04 state="succeeded" `,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
