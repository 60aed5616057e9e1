package frontdoor_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/internal/fakeprovider"
	"oneflow/jobs"
)

func line(id, path, body string) string {
	return fmt.Sprintf(`{"custom_id":%q,"method":"POST","url":%q,"body":%s}`+"\n", id, path, body)
}

func file(text string) openai.FileNewParams {
	return openai.FileNewParams{File: openai.File(strings.NewReader(text), "input.jsonl", "application/jsonl"), Purpose: openai.FilePurposeBatch}
}

func batchOf(id string) openai.BatchNewParams {
	return openai.BatchNewParams{InputFileID: id, Endpoint: openai.BatchNewParamsEndpointV1ChatCompletions, CompletionWindow: openai.BatchNewParamsCompletionWindow24h}
}

func TestOpenAIsClientUploadsABatchPollsAndDownloadsUnchanged(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	client := h.openai(h.token(t, access.Enqueue, "research"))
	var input strings.Builder
	models := []string{"gpt-5.4-mini", "openai/gpt-5.4-mini", "claude-haiku-5-5", "mock"}
	const n = 40
	for i := range n {
		input.WriteString(line(fmt.Sprintf("row-%d", i), "/v1/chat/completions", fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hello %d"}]}`, models[i%len(models)], i)))
	}
	up, err := client.Files.New(t.Context(), file(input.String()))
	must(t, err)
	if up.Bytes != int64(input.Len()) || up.Filename != "input.jsonl" || up.Purpose != "batch" || up.ExpiresAt == 0 {
		t.Errorf("file: %+v", up)
	}
	content, err := client.Files.Content(t.Context(), up.ID)
	must(t, err)
	defer func() { _ = content.Body.Close() }()
	if back, err := io.ReadAll(content.Body); err != nil || string(back) != input.String() {
		t.Errorf("the content is another: %d bytes, %v", len(back), err)
	}
	params := batchOf(up.ID)
	params.Metadata = map[string]string{"project": "x"}
	b, err := client.Batches.New(t.Context(), params)
	must(t, err)
	if b.InputFileID != up.ID || b.Metadata["project"] != "x" || b.Status == "" {
		t.Errorf("batch: %+v", b)
	}
	eventually(t, "the batch is completed", func() bool {
		b, err = client.Batches.Get(t.Context(), b.ID)
		return err == nil && b.Status == openai.BatchStatusCompleted
	})
	if b.RequestCounts.Total != n || b.RequestCounts.Completed != n || b.RequestCounts.Failed != 0 || b.OutputFileID == "" || b.ErrorFileID != "" || b.CompletedAt == 0 {
		t.Fatalf("batch: %+v", b)
	}
	kept, err := h.db.Batches(t.Context(), batches.Filter{Limit: 1})
	must(t, err)
	if e := kept[0].Estimate; e.Jobs != n || e.Low <= 0 || e.Expected <= e.Low || e.High <= e.Expected {
		t.Errorf("estimate: %+v", e)
	}
	out, err := client.Files.Content(t.Context(), b.OutputFileID)
	must(t, err)
	defer func() { _ = out.Body.Close() }()
	ids := map[string]bool{}
	scanner := bufio.NewScanner(out.Body)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var row struct {
			CustomID string `json:"custom_id"`
			Response struct {
				StatusCode int `json:"status_code"`
				Body       openai.ChatCompletion
			}
			Error any
		}
		must(t, json.Unmarshal(scanner.Bytes(), &row))
		if row.Response.StatusCode != http.StatusOK || len(row.Response.Body.Choices) != 1 || row.Response.Body.Choices[0].Message.Content == "" || row.Response.Body.Usage.TotalTokens == 0 {
			t.Errorf("row: %s", scanner.Text())
		}
		ids[row.CustomID] = true
	}
	if len(ids) != n {
		t.Errorf("%d rows came back", len(ids))
	}
	if meta, err := client.Files.Get(t.Context(), b.OutputFileID); err != nil || meta.Bytes == 0 || meta.Purpose != "batch_output" {
		t.Errorf("output: %+v %v", meta, err)
	}
	// The same ledger, account and batch as for commands.
	p, err := h.db.Progress(t.Context(), b.ID)
	must(t, err)
	if p.Total() != n {
		t.Errorf("%+v", p)
	}
	if _, err := client.Batches.Cancel(t.Context(), b.ID); err == nil || !strings.Contains(err.Error(), "409") {
		t.Errorf("cancelled after its end: %v", err)
	}
	list, err := client.Batches.List(t.Context(), openai.BatchListParams{})
	must(t, err)
	if len(list.Data) != 1 || list.Data[0].ID != b.ID {
		t.Errorf("list: %+v", list.Data)
	}
	if gone, err := client.Files.Delete(t.Context(), up.ID); err != nil || !gone.Deleted {
		t.Errorf("%+v %v", gone, err)
	}
	if _, err := client.Files.Get(t.Context(), up.ID); err == nil {
		t.Error("the file is still there")
	}
}

func TestAFileWithFaultsFailsAndNothingOfItRuns(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false)
	client := h.openai(h.token(t, access.Enqueue, ""))
	good := line("a", "/v1/chat/completions", `{"model":"mock","messages":[{"role":"user","content":"hello"}]}`)
	for name, c := range map[string]struct{ text, says string }{
		"not JSON":           {good + "{nonsense\n", "not valid JSON"},
		"no custom_id":       {good + `{"method":"POST","url":"/v1/chat/completions","body":{"model":"mock"}}` + "\n", "custom_id"},
		"a custom_id twice":  {good + good, "used before"},
		"another endpoint":   {good + line("b", "/v1/embeddings", `{"model":"mock"}`), "url"},
		"another method":     {strings.Replace(good, "POST", "GET", 1), "method"},
		"no model":           {good + line("b", "/v1/chat/completions", `{"messages":[]}`), "model"},
		"an unknown model":   {good + line("b", "/v1/chat/completions", `{"model":"nobody-9","messages":[{"role":"user","content":"hello"}]}`), "provider/model"},
		"a field of ours":    {good + `{"custom_id":"b","method":"POST","url":"/v1/chat/completions","account":"others","body":{"model":"mock","messages":[{"role":"user","content":"hello"}]}}` + "\n", "no such field"},
		"nothing but spaces": {"\n\n", "no request"},
		"a stream":           {good + line("b", "/v1/chat/completions", `{"model":"gpt-5.4-mini","stream":true,"messages":[{"role":"user","content":"hello"}]}`), "stream"},
	} {
		up, err := client.Files.New(t.Context(), file(c.text))
		must(t, err)
		b, err := client.Batches.New(t.Context(), batchOf(up.ID))
		must(t, err)
		eventually(t, name+" fails", func() bool {
			b, err = client.Batches.Get(t.Context(), b.ID)
			return err == nil && b.Status == openai.BatchStatusFailed
		})
		if len(b.Errors.Data) == 0 || !strings.Contains(b.Errors.Data[0].Message, c.says) || b.FailedAt == 0 {
			t.Errorf("%s: %+v", name, b.Errors.Data)
		}
		if p, err := h.db.Progress(t.Context(), b.ID); err == nil {
			t.Errorf("%s: it has jobs: %+v", name, p)
		}
	}
}

func TestABatchIsCancelledBeforeAndAfterItsRowsAreTaken(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false) // nobody works
	client := h.openai(h.token(t, access.Enqueue, ""))
	up, err := client.Files.New(t.Context(), file(line("a", "/v1/chat/completions", `{"model":"mock","messages":[{"role":"user","content":"hello"}]}`)))
	must(t, err)
	for _, taken := range []bool{false, true} {
		b, err := client.Batches.New(t.Context(), batchOf(up.ID))
		must(t, err)
		if taken {
			eventually(t, "its rows are taken", func() bool {
				b, err = client.Batches.Get(t.Context(), b.ID)
				return err == nil && b.Status == openai.BatchStatusInProgress
			})
		}
		_, err = client.Batches.Cancel(t.Context(), b.ID)
		must(t, err)
		eventually(t, "it is cancelled", func() bool {
			b, err = client.Batches.Get(t.Context(), b.ID)
			return err == nil && b.Status == openai.BatchStatusCancelled
		})
	}
}

func TestAnAccountSeesItsOwnFilesAndBatchesOnly(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false)
	mine, theirs := h.openai(h.token(t, access.Enqueue, "mine")), h.openai(h.token(t, access.Enqueue, "theirs"))
	reader := h.token(t, access.Read, "mine")
	up, err := mine.Files.New(t.Context(), file(line("a", "/v1/chat/completions", `{"model":"mock","messages":[{"role":"user","content":"hello"}]}`)))
	must(t, err)
	b, err := mine.Batches.New(t.Context(), batchOf(up.ID))
	must(t, err)
	for name, err := range map[string]error{
		"get a file":     second(theirs.Files.Get(t.Context(), up.ID)),
		"read a file":    unread(t, theirs, up.ID),
		"delete a file":  second(theirs.Files.Delete(t.Context(), up.ID)),
		"get a batch":    second(theirs.Batches.Get(t.Context(), b.ID)),
		"cancel a batch": second(theirs.Batches.Cancel(t.Context(), b.ID)),
		"read answers":   unread(t, theirs, "file-"+b.ID+"-output"),
		"read failures":  unread(t, theirs, "file-"+b.ID+"-errors"),
		"use a file":     second(theirs.Batches.New(t.Context(), batchOf(up.ID))),
	} {
		if err == nil || !strings.Contains(err.Error(), "404") && !strings.Contains(err.Error(), "400") {
			t.Errorf("another account may %s: %v", name, err)
		}
	}
	if list, err := theirs.Files.List(t.Context(), openai.FileListParams{}); err != nil || len(list.Data) != 0 {
		t.Errorf("files of another account: %+v %v", list, err)
	}
	if list, err := theirs.Batches.List(t.Context(), openai.BatchListParams{}); err != nil || len(list.Data) != 0 {
		t.Errorf("batches of another account: %+v %v", list, err)
	}
	if answer := h.send(t, http.MethodDelete, "/v1/files/"+up.ID, reader, ""); answer.StatusCode != http.StatusForbidden {
		t.Errorf("a reader deletes: %d", answer.StatusCode)
	}
	if answer := h.send(t, http.MethodGet, "/v1/files/"+up.ID, h.token(t, access.Read, ""), ""); answer.StatusCode != http.StatusOK {
		t.Errorf("a token of all accounts: %d", answer.StatusCode)
	}
	if answer := h.send(t, http.MethodGet, "/v1/files/"+up.ID, "", ""); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("nobody: %d", answer.StatusCode)
	}
}

// unread is the error of reading a file.
func unread(t *testing.T, client openai.Client, id string) error {
	t.Helper()
	answer, err := client.Files.Content(t.Context(), id)
	if err == nil {
		must(t, answer.Body.Close())
	}
	return err
}

func second[T any](_ T, err error) error { return err }

func TestWrongUploadsAreRefused(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false)
	form := func(parts ...string) string {
		text := ""
		for _, p := range parts {
			text += "--b\r\nContent-Disposition: form-data; " + p + "\r\n"
		}
		return text + "--b--\r\n"
	}
	purpose, content := "name=\"purpose\"\r\n\r\nbatch", "name=\"file\"; filename=\"x\"\r\n\r\nhello"
	for name, c := range map[string]struct {
		body string
		code int
	}{
		"no file":         {form(purpose), 400},
		"an empty file":   {form(purpose, "name=\"file\"; filename=\"x\"\r\n\r\n"), 400},
		"two files":       {form(purpose, content, content), 400},
		"no purpose":      {form(content), 400},
		"another purpose": {form("name=\"purpose\"\r\n\r\nfine-tune", content), 400},
		"a wrong expiry":  {form(purpose, "name=\"expires_after[seconds]\"\r\n\r\n-5", content), 400},
		"a long field":    {form("name=\"purpose\"\r\n\r\n"+strings.Repeat("x", 2000), content), 400},
		"cut off":         {form(purpose, content)[:90], 400},
		"good":            {form(content, purpose), 200},
	} {
		answer := h.send(t, http.MethodPost, "/v1/files", "", c.body, "Content-Type", "multipart/form-data; boundary=b")
		text, err := io.ReadAll(answer.Body)
		if answer.StatusCode != c.code || err != nil || c.code == 400 && !strings.Contains(string(text), `"invalid_request_error"`) {
			t.Errorf("%s: %d %s", name, answer.StatusCode, text)
		}
	}
	for _, path := range []string{"/v1/files/..%2f..%2fetc%2fpasswd", "/v1/files/..%2f..%2fetc%2fpasswd/content", "/v1/files/%00", "/v1/files/file-batch_x-output/content", "/v1/batches/..%2fx", "/v1/batches/%ff"} {
		if answer := h.send(t, http.MethodGet, path, "", ""); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, answer.StatusCode)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/v1/files", strings.NewReader("x"))
	must(t, err)
	r.ContentLength = 300 << 20
	r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	if answer, err := h.client.Do(r); err == nil {
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("300 MB: %d", answer.StatusCode)
		}
	}
}

// sized is a form with a file of so many bytes, in lines that repeat.
func sized(n int64, line string) io.Reader {
	return io.MultiReader(
		strings.NewReader("--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n"),
		io.LimitReader(&repeated{line: line}, n), strings.NewReader("\r\n--b--\r\n"))
}

// repeated is a line again and again, without end.
type repeated struct {
	line string
	at   int
}

// Read implements io.Reader.
func (r *repeated) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c := copy(p[n:], r.line[r.at:])
		n, r.at = n+c, (r.at+c)%len(r.line)
	}
	return n, nil
}

func TestAFileHas200MegabytesAndABatch50000RowsAtMost(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false)
	upload := func(body io.Reader) (status int, id string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/v1/files", body)
		must(t, err)
		r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		answer, err := h.client.Do(r)
		must(t, err)
		defer func() { _ = answer.Body.Close() }()
		var made struct{ ID string }
		must(t, json.NewDecoder(answer.Body).Decode(&made))
		return answer.StatusCode, made.ID
	}
	const most = 200 << 20
	if status, _ := upload(sized(most, "0123456789abcdef")); status != http.StatusOK {
		t.Errorf("200 MB: %d", status)
	}
	if status, _ := upload(sized(most+1, "0123456789abcdef")); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a byte more: %d", status)
	}
	var rows strings.Builder
	for i := range 50_001 {
		fmt.Fprintf(&rows, `{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"model":"mock","messages":[{"role":"user","content":"x"}]}}`+"\n", i)
	}
	status, id := upload(sized(int64(rows.Len()), rows.String()))
	if status != http.StatusOK {
		t.Fatal(status)
	}
	client := h.openai(h.token(t, access.Enqueue, ""))
	b, err := client.Batches.New(t.Context(), batchOf(id))
	must(t, err)
	eventually(t, "it fails", func() bool {
		b, err = client.Batches.Get(t.Context(), b.ID)
		return err == nil && b.Status == openai.BatchStatusFailed
	})
	if len(b.Errors.Data) != 1 || !strings.Contains(b.Errors.Data[0].Message, "50000") {
		t.Errorf("%+v", b.Errors.Data)
	}
	if list, err := h.db.Jobs(t.Context(), jobs.Filter{Limit: 1}); err != nil || len(list.Jobs) != 0 {
		t.Errorf("%d of its rows are jobs, %v", len(list.Jobs), err)
	}
}
