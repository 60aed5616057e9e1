package jobs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"oneflow/jobs"
	"oneflow/providers"
)

func TestTheSameFileGivesTheSameKeysAgain(t *testing.T) {
	t.Parallel()
	prompts := []string{"a", "b", "a", "a", "c", "b"}
	assign := func() []string {
		keys := jobs.NewKeys()
		var out []string
		for i, prompt := range prompts {
			row := jobs.New{ID: jobs.NewID(), Seq: int64(i + 1), Provider: "p", Request: providers.Request{Task: providers.Text, Prompt: prompt}}
			if i == 4 {
				row.CustomID = "mine"
			}
			if err := keys.Assign(&row); err != nil {
				t.Fatal(err)
			}
			out = append(out, row.Key)
		}
		return out
	}
	first, second := assign(), assign()
	seen := map[string]bool{}
	for i, key := range first {
		if key != second[i] {
			t.Errorf("row %d: %q, then %q", i, key, second[i])
		}
		if seen[key] {
			t.Errorf("row %d: %q is not its own", i, key)
		}
		seen[key] = true
	}
	if first[4] != "c:mine" {
		t.Errorf("the key of a custom id is %q", first[4])
	}
}

// TestAFieldOfAJobDecidesTheContentUnlessItIsListedHere walks all fields, so that a
// new one is either part of the content or said not to be.
func TestAFieldOfAJobDecidesTheContentUnlessItIsListedHere(t *testing.T) {
	t.Parallel()
	unimportant := map[string]string{
		"ID": "its id", "Seq": "its place", "CustomID": "the producer's id", "Account": "for whom", "Lane": "how urgently", "RunAt": "when",
		"Key": "made of the content", "ContentSHA256": "the content", "Encoded": "the request", "Own": "columns that decide nothing", "Deadline": "until when",
		"Least": "what it costs at least", "Estimate": "what it is expected to cost", "Turn": "its place in the queue", "Request.With": "prompts of other jobs",
		"Request.CacheSeconds": "how old an answer may be", "Request.CacheVaried": "the same",
	}
	hash := func(row jobs.New) [32]byte {
		if err := jobs.NewKeys().Assign(&row); err != nil {
			t.Fatal(err)
		}
		return row.ContentSHA256
	}
	same := hash(jobs.New{})
	check := func(name string, changed jobs.New) {
		_, listed := unimportant[name]
		if differs := hash(changed) != same; differs == listed {
			t.Errorf("%s: changes the content: %v, listed as unimportant: %v", name, differs, listed)
		}
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[jobs.New]()) {
		var row jobs.New
		change(t, reflect.ValueOf(&row).Elem().FieldByIndex(f.Index))
		check(f.Name, row)
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[providers.Request]()) {
		var row jobs.New
		change(t, reflect.ValueOf(&row.Request).Elem().FieldByIndex(f.Index))
		check("Request."+f.Name, row)
	}
}

// change gives v another value than its zero.
func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() { //nolint:exhaustive // a delivery has no others
	case reflect.String:
		v.SetString("changed")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Float64:
		v.SetFloat(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		change(t, v.Elem())
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte("7"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		change(t, v.Index(0))
	case reflect.Array:
		change(t, v.Index(0))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]json.RawMessage{"changed": json.RawMessage("7")}))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(7, 0)))
			return
		}
		change(t, v.Field(0))
	default:
		t.Fatalf("no other value is known for a %s", v.Type())
	}
}

func TestADefaultIsTheSameContentWhetherItIsSaidOrNot(t *testing.T) {
	t.Parallel()
	silent, said := jobs.New{}, jobs.New{Fallback: providers.FallbackAuto, OnUnknown: jobs.RetryUnknown, MaxAttempts: jobs.DefaultMaxAttempts}
	for _, row := range []*jobs.New{&silent, &said} {
		if err := jobs.NewKeys().Assign(row); err != nil {
			t.Fatal(err)
		}
	}
	if silent.Key != said.Key {
		t.Errorf("%s and %s", silent.Key, said.Key)
	}
}

func TestACustomIDIsUsedOnce(t *testing.T) {
	t.Parallel()
	keys := jobs.NewKeys()
	row := jobs.New{Seq: 3, CustomID: "x"}
	if err := keys.Assign(&row); err != nil {
		t.Fatal(err)
	}
	row.Seq = 9
	if err := keys.Assign(&row); err == nil || !strings.Contains(err.Error(), "row 3") {
		t.Errorf("%v, want an error that names the first row", err)
	}
}

func TestATaskHoldsIdsAndNothingOfTheRequest(t *testing.T) {
	t.Parallel()
	d := jobs.Delivery{ID: jobs.NewID(), Gen: 3, Provider: "p", Lane: jobs.Bulk, Task: providers.Image, Model: "m", BatchID: "b"}
	task, err := jobs.EncodeTask(d)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"job":%q,"gen":3,"task":"image","model":"m","batch":"b"}`, d.ID)
	if got := string(task.Payload()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	claims, chunk, err := jobs.DecodeTask(task)
	if len(claims) != 1 || claims[0] != (jobs.Claim{ID: d.ID, Gen: 3}) || chunk != 0 || err != nil {
		t.Errorf("decoded as %v, chunk: %v, %v", claims, chunk, err)
	}
	// Each generation has an id that asynq has not seen, and that asynqmon can show.
	if a, b := jobs.TaskID(d.ID, 3), jobs.TaskID(d.ID, 4); a == b || strings.ContainsAny(a, "/ ") {
		t.Errorf("%q, %q", a, b)
	}
}

func TestForeignTasksAreRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, `null`, `[]`, `"x"`, `{}`, `{"job":"x","gen":1}`, `{"gen":1}`, `{"job":"00000000-0000-0000-0000-000000000000","gen":1}`,
		`{"job":"0195d2b8-0000-7000-8000-000000000001"}`, `{"job":"0195d2b8-0000-7000-8000-000000000001","gen":0}`,
		`{"chunk":[]}`, `{"chunk":["x"]}`, `{"chunk":["0195d2b8-0000-7000-8000-000000000001"]}`, `{"chunk":["0195d2b8-0000-7000-8000-000000000001-0"]}`,
		`{"chunk":["0195d2b8-0000-7000-8000-000000000001-1","00000000-0000-0000-0000-000000000000-1"]}`, `{"chunk":"0195d2b8-0000-7000-8000-000000000001-1"}`,
		`{"chunk":["` + strings.Repeat(`0195d2b8-0000-7000-8000-000000000001-1","`, jobs.MaxChunk) + `0195d2b8-0000-7000-8000-000000000001-1"]}`,
		`{"job":"0195d2b8-0000-7000-8000-000000000001","gen":"1"}`, `{"job":"0195d2b8-0000-7000-8000-000000000001","gen":-1}`,
	} {
		if claims, _, err := jobs.DecodeTask(asynq.NewTask("generate:text", []byte(body))); err == nil {
			t.Errorf("%s was taken for %v", body, claims)
		} else if len(body) > 10 && strings.Contains(err.Error(), body) {
			t.Errorf("%s: its error repeats the payload: %v", body, err)
		}
	}
}

func FuzzAPayloadNamesAJobOrIsRefused(f *testing.F) {
	for _, seed := range []string{`{"chunk":["0195d2b8-0000-7000-8000-000000000001-1"]}`, `{"job":"0195d2b8-0000-7000-8000-000000000001","gen":1}`, `{}`, `{"job":1}`, "\x00", `{"gen":1e9,"job":"{0195d2b8-0000-7000-8000-000000000001}"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		claims, chunk, err := jobs.DecodeTask(asynq.NewTask("x", body))
		if err != nil {
			if claims != nil {
				t.Errorf("%q: refused and %v handed out", body, claims)
			}
			return
		}
		var list []jobs.Delivery
		for _, c := range claims {
			if c.ID == uuid.Nil || c.Gen < 1 {
				t.Errorf("%q: job %s, generation %d", body, c.ID, c.Gen)
			}
			d := jobs.Delivery{ID: c.ID, Gen: c.Gen, Provider: "p", Lane: jobs.High}
			if chunk > 0 {
				d.DeliveryID, d.Pack = "c1", chunk
			}
			list = append(list, d)
		}
		again, err := jobs.EncodeTask(list...)
		if err != nil {
			t.Fatal(err)
		}
		if same, chunk2, err := jobs.DecodeTask(again); !slices.Equal(same, claims) || chunk2 != chunk || err != nil {
			t.Errorf("%q: %v became %v, %v", body, claims, same, err)
		}
		if bytes.Contains(again.Payload(), []byte("prompt")) {
			t.Error("a prompt")
		}
	})
}

func TestAChunkShowsItsCountAndItsBatch(t *testing.T) {
	t.Parallel()
	a := jobs.Delivery{ID: jobs.NewID(), Gen: 1, Provider: "p", Lane: jobs.Bulk, Task: providers.Text, Model: "m", BatchID: "b", DeliveryID: "c1-0", Pack: 1}
	b := a
	b.ID, b.Gen = jobs.NewID(), 7
	for batch, want := range map[string]string{
		"b":     fmt.Sprintf(`{"task":"text","model":"m","batch":"b","jobs":2,"chunk":["%s-1","%s-7"]}`, a.ID, b.ID),
		"other": fmt.Sprintf(`{"task":"text","model":"m","jobs":2,"chunk":["%s-1","%s-7"]}`, a.ID, b.ID),
	} {
		b.BatchID = batch
		task, err := jobs.EncodeTask(a, b)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(task.Payload()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		claims, chunk, err := jobs.DecodeTask(task)
		if want := []jobs.Claim{{ID: a.ID, Gen: 1}, {ID: b.ID, Gen: 7}}; !slices.Equal(claims, want) || chunk != 1 || err != nil {
			t.Errorf("decoded as %v, %v, %v", claims, chunk, err)
		}
		shared := []jobs.Delivery{a, b}
		shared[0].Pack, shared[1].Pack = 5, 5
		if task, err = jobs.EncodeTask(shared...); err != nil {
			t.Fatal(err)
		}
		if claims, chunk, err := jobs.DecodeTask(task); len(claims) != 2 || chunk != 5 || err != nil {
			t.Errorf("jobs that share calls are decoded as %v, %d, %v", claims, chunk, err)
		}
	}
}

func TestStatesAreFinishedOrNot(t *testing.T) {
	t.Parallel()
	waiting := map[jobs.State]bool{jobs.Scheduled: true, jobs.Queued: true, jobs.Running: true, jobs.Retrying: true}
	for _, s := range jobs.States() {
		if s.Finished() == waiting[s] {
			t.Errorf("%s: finished is %t", s, s.Finished())
		}
	}
	if len(jobs.States()) != 9 {
		t.Errorf("%d states", len(jobs.States()))
	}
}
