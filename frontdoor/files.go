package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"oneflow/access"
	"oneflow/batches"
)

const (
	// keptFor is the time for which a file is kept that names no time, as the vendor's batch files are.
	keptFor           = 30 * 24 * time.Hour
	minKept, maxKept  = time.Hour, keptFor
	defaultPage       = 20
	maxPage           = 100
	outputs, failures = "-output", "-errors" // the ends of the ids of what a batch brought
)

// purposes are those that a file may have here.
func purposes() []string { return []string{"batch", "user_data"} }

// fileObject is a file as OpenAI has it.
type fileObject struct {
	ID        string `json:"id"`
	Object    string `json:"object"`
	Bytes     int64  `json:"bytes"`
	CreatedAt int64  `json:"created_at"`
	ExpiresAt int64  `json:"expires_at,omitempty"`
	Filename  string `json:"filename"`
	Purpose   string `json:"purpose"`
	Status    string `json:"status"`
}

func (f *File) object() fileObject {
	return fileObject{f.ID, "file", f.Bytes, f.CreatedAt.Unix(), f.ExpiresAt.Unix(), f.Filename, f.Purpose, "processed"}
}

// formError says what is wrong with an upload.
type formError struct {
	status        int
	param, reason string
}

func (e *formError) Error() string { return e.reason }

// upload takes a file, as it comes, into blob storage.
func (f *FrontDoor) upload(w http.ResponseWriter, r *http.Request) {
	account, ok := accountOf(r)
	if !ok {
		fail(w, http.StatusForbidden, "", "", "the token is for another account")
		return
	}
	release, err := f.receiving.forUpload(r.Context())
	if err != nil {
		f.notTaken(w, r, endpoint{refuse: refuse}, err)
		return
	}
	defer release()
	file, err := f.receive(r)
	if bad, ok := errors.AsType[*formError](err); ok {
		fail(w, bad.status, "", bad.param, bad.reason)
		return
	}
	if err == nil {
		file.Account = account
		err = f.cfg.Stores.Files.AddFile(r.Context(), file)
	}
	if err != nil {
		f.broken(w, r, err)
		return
	}
	answer(w, http.StatusOK, file.object())
}

// receive reads the form. The file is on this machine's disk until it is whole, under no
// name, so that nothing is left of one that breaks off.
func (f *FrontDoor) receive(r *http.Request) (file File, err error) {
	form, err := r.MultipartReader()
	if err != nil {
		return file, &formError{http.StatusBadRequest, "file", "must be sent as multipart/form-data, with purpose and file"}
	}
	file = File{ID: newID("file-"), CreatedAt: time.Now().Truncate(time.Second)}
	fields := map[string]string{}
	var kept *os.File
	defer func() {
		if kept != nil {
			_ = kept.Close()
		}
	}()
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return file, cutOff(err)
		}
		if part.FormName() != "file" {
			if err := readField(part, fields); err != nil {
				return file, err
			}
			continue
		}
		if kept != nil {
			return file, &formError{http.StatusBadRequest, "file", "is there twice"}
		}
		file.Filename = fileName(part.FileName())
		if kept, file.Bytes, err = spool(part); err != nil {
			return file, err
		}
	}
	if err := file.describe(fields, kept != nil); err != nil {
		return file, err
	}
	file.URL, err = f.cfg.Objects.Keep(r.Context(), "uploads/"+file.ID, kept, file.Bytes, "application/octet-stream")
	return file, err
}

// describe takes what the form says of the file.
func (f *File) describe(fields map[string]string, there bool) error {
	f.Purpose = fields["purpose"]
	kept := keptFor
	if s, ok := fields["expires_after[seconds]"]; ok {
		seconds, err := strconv.ParseInt(s, 10, 64)
		kept = time.Duration(min(max(seconds, 0), 1<<31)) * time.Second
		if err != nil || kept < minKept || kept > maxKept {
			return &formError{http.StatusBadRequest, "expires_after", fmt.Sprintf("expires_after.seconds: must be from %d to %d", int(minKept.Seconds()), int(maxKept.Seconds()))}
		}
	}
	if anchor, ok := fields["expires_after[anchor]"]; ok && anchor != "created_at" {
		return &formError{http.StatusBadRequest, "expires_after", "expires_after.anchor: must be created_at"}
	}
	f.ExpiresAt = f.CreatedAt.Add(kept)
	switch {
	case !there:
		return &formError{http.StatusBadRequest, "file", "file: is missing"}
	case f.Bytes == 0:
		return &formError{http.StatusBadRequest, "file", "file: is empty"}
	case !slices.Contains(purposes(), f.Purpose):
		return &formError{http.StatusBadRequest, "purpose", "purpose: must be one of " + strings.Join(purposes(), ", ")}
	}
	return nil
}

func readField(part *multipart.Part, fields map[string]string) error {
	const longest, most = 1000, 50
	value, err := io.ReadAll(io.LimitReader(part, longest+1))
	if err != nil {
		return cutOff(err)
	}
	if len(value) > longest || len(fields) >= most {
		return &formError{http.StatusBadRequest, "", "the form has a field that is too long, or too many"}
	}
	fields[part.FormName()] = string(value)
	return nil
}

// cutOff is the error of a body that ended early, or is too long.
func cutOff(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &formError{http.StatusRequestEntityTooLarge, "file", fmt.Sprintf("file: is larger than %d MB", maxUpload>>20)}
	}
	return &formError{http.StatusBadRequest, "file", "the form cannot be read to its end"}
}

// spool keeps what a part holds in a file without a name, at its start.
func spool(part io.Reader) (kept *os.File, n int64, err error) {
	kept, err = os.CreateTemp("", "oneflow-upload-*")
	if err != nil {
		return nil, 0, err
	}
	if err := os.Remove(kept.Name()); err != nil {
		return kept, 0, err
	}
	n, err = io.Copy(kept, io.LimitReader(part, maxUpload+1))
	if err != nil {
		if _, ours := errors.AsType[*os.PathError](err); ours {
			return kept, n, err
		}
		return kept, n, cutOff(err)
	}
	if n > maxUpload {
		return kept, n, &formError{http.StatusRequestEntityTooLarge, "file", fmt.Sprintf("file: is larger than %d MB", maxUpload>>20)}
	}
	_, err = kept.Seek(0, io.SeekStart)
	return kept, n, err
}

// fileName is the name that a client gave, as a name only: no path, no control characters.
func fileName(name string) string {
	name = path.Base(strings.ReplaceAll(name, "\\", "/"))
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '_'
		}
		return r
	}, name)
	const longest = 200
	if len(name) > longest {
		name = strings.ToValidUTF8(name[:longest], "")
	}
	if name == "." || name == "/" || name == "" {
		return "upload"
	}
	return name
}

// file reads the file that a path names, if whoever asks may see it.
func (f *FrontDoor) file(r *http.Request, id string) (File, error) {
	if len(id) > 100 || strings.ContainsRune(id, 0) || !utf8.ValidString(id) {
		return File{}, ErrNoFile
	}
	file, err := f.cfg.Stores.Files.File(r.Context(), id)
	if err == nil && !access.From(r.Context()).Sees(file.Account) {
		err = ErrNoFile
	}
	return file, err
}

// output returns the batch whose answers, or failures, a file's id stands for; their bytes
// are made when they are asked for.
func (f *FrontDoor) output(r *http.Request, id string) (b Batch, failed, ok bool, err error) {
	rest, isFile := strings.CutPrefix(id, "file-")
	batchID, isOutput := strings.CutSuffix(rest, outputs)
	if !isOutput {
		batchID, failed = strings.CutSuffix(rest, failures)
	}
	if !isFile || !isOutput && !failed {
		return b, false, false, nil
	}
	b, err = f.batch(r, batchID)
	if errors.Is(err, ErrNoBatch) {
		err = ErrNoFile
	}
	return b, failed, true, err
}

func (f *FrontDoor) getFile(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	b, failed, isOutput, err := f.output(r, id)
	if isOutput && err == nil {
		var n counter
		err = f.export(r.Context(), b, failed, &n)
		answerOr(f, w, r, err, fileObject{
			ID: id, Object: "file", Bytes: int64(n), CreatedAt: b.CreatedAt.Unix(), Filename: b.ID + strings.TrimPrefix(id, "file-"+b.ID) + ".jsonl",
			Purpose: "batch_output", Status: "processed",
		})
		return
	}
	if isOutput {
		f.broken(w, r, err)
		return
	}
	file, err := f.file(r, id)
	answerOr(f, w, r, err, file.object())
}

// counter is a writer that counts.
type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// export writes what a batch brought: its answers, or its failures.
func (f *FrontDoor) export(ctx context.Context, b Batch, failed bool, w io.Writer) error {
	e := batches.Export{Format: batches.FormatOpenAI, Succeeded: !failed, Failed: failed}
	_, err := e.Write(ctx, f.cfg.Stores.Jobs, b.ID, w)
	return err
}

func (f *FrontDoor) fileContent(w http.ResponseWriter, r *http.Request) {
	b, failed, isOutput, err := f.output(r, r.PathValue("id"))
	if isOutput {
		if err != nil {
			f.broken(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/jsonl")
		if err := f.export(r.Context(), b, failed, w); err != nil {
			f.cfg.Log.Warn().Err(err).Str("batch", b.ID).Msg("batch output broke off")
			panic(http.ErrAbortHandler) // a whole file was promised
		}
		return
	}
	file, err := f.file(r, r.PathValue("id"))
	if err != nil {
		f.broken(w, r, err)
		return
	}
	from, err := f.cfg.Objects.OpenURL(r.Context(), file.URL)
	if err != nil {
		f.broken(w, r, err)
		return
	}
	defer func() { _ = from.Close() }()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(file.Bytes, 10))
	_, _ = io.Copy(w, from)
}

func (f *FrontDoor) deleteFile(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if _, _, isOutput, err := f.output(r, id); isOutput {
		if err == nil {
			fail(w, http.StatusConflict, "", "", "what a batch brought is removed with the batch: enqueue rm")
			return
		}
		f.broken(w, r, err)
		return
	}
	file, err := f.file(r, id)
	if err == nil {
		err = f.remove(r.Context(), file)
	}
	answerOr(f, w, r, err, struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Deleted bool   `json:"deleted"`
	}{id, "file", true})
}

// remove removes a file: its bytes first, so that none is left that nobody knows of.
func (f *FrontDoor) remove(ctx context.Context, file File) error {
	if err := f.cfg.Objects.Remove(ctx, file.URL); err != nil {
		return err
	}
	return f.cfg.Stores.Files.RemoveFile(ctx, file.ID)
}

func (f *FrontDoor) listFiles(w http.ResponseWriter, r *http.Request) {
	p, ok := asked(r)
	purpose := r.URL.Query().Get("purpose")
	if !ok || len(purpose) > 100 || strings.ContainsRune(purpose, 0) || !utf8.ValidString(purpose) {
		fail(w, http.StatusBadRequest, "", "limit", "limit: must be from 1 to 10000; after: must be a file's id")
		return
	}
	limit := p.Limit
	p.Limit++
	files, err := f.cfg.Stores.Files.Files(r.Context(), p, purpose)
	var objects []fileObject
	for _, file := range files {
		objects = append(objects, file.object())
	}
	answerOr(f, w, r, err, page(objects, limit, func(o fileObject) string { return o.ID }))
}
