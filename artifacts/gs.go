package artifacts

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// gs is a bucket of Google Cloud Storage, by its JSON API
// (https://cloud.google.com/storage/docs/json_api).
type gs struct {
	client         *http.Client
	endpoint       string
	bucket, prefix string
}

// gsScope lets an access token read and write objects.
const gsScope = "https://www.googleapis.com/auth/devstorage.read_write"

// openGS goes to the emulator that STORAGE_EMULATOR_HOST names, as Google's own
// libraries do, and needs no credentials there.
func openGS(ctx context.Context, name, prefix string, query url.Values) (bucket, error) {
	if err := known(query); err != nil {
		return nil, err
	}
	b := &gs{client: &http.Client{}, endpoint: "https://storage.googleapis.com", bucket: name, prefix: prefix}
	if emulator := os.Getenv("STORAGE_EMULATOR_HOST"); emulator != "" {
		if !strings.Contains(emulator, "://") {
			emulator = "http://" + emulator
		}
		b.endpoint = strings.TrimSuffix(emulator, "/")
		return b, nil
	}
	creds, err := google.FindDefaultCredentials(ctx, gsScope)
	if err != nil {
		return nil, fmt.Errorf("%w; set GOOGLE_APPLICATION_CREDENTIALS to a service account's file, or run `gcloud auth application-default login`", err)
	}
	b.client = oauth2.NewClient(context.WithoutCancel(ctx), creds.TokenSource)
	return b, nil
}

func (b *gs) size(ctx context.Context, key string) (int64, bool, error) {
	var object struct {
		Size int64 `json:"size,string"`
	}
	status, err := b.do(ctx, http.MethodGet, "/storage/v1/b/"+url.PathEscape(b.bucket)+"/o/"+url.PathEscape(b.prefix+key)+"?fields=size", "", nil, &object)
	if status == http.StatusNotFound {
		return 0, false, nil
	}
	return object.Size, err == nil, err
}

func (b *gs) write(ctx context.Context, key string, data []byte, contentType string) error {
	return b.writeFrom(ctx, key, bytes.NewReader(data), int64(len(data)), contentType)
}

func (b *gs) writeFrom(ctx context.Context, key string, r io.Reader, size int64, contentType string) error {
	_, err := b.do(ctx, http.MethodPost, "/upload/storage/v1/b/"+url.PathEscape(b.bucket)+"/o?uploadType=media&name="+url.QueryEscape(b.prefix+key), contentType, io.LimitReader(r, size), nil)
	return err
}

func (b *gs) remove(ctx context.Context, key string) error {
	status, err := b.do(ctx, http.MethodDelete, "/storage/v1/b/"+url.PathEscape(b.bucket)+"/o/"+url.PathEscape(b.prefix+key), "", nil, nil)
	if status == http.StatusNotFound {
		return nil
	}
	return err
}

func (b *gs) open(ctx context.Context, key string) (io.ReadCloser, error) {
	res, err := b.send(ctx, http.MethodGet, "/storage/v1/b/"+url.PathEscape(b.bucket)+"/o/"+url.PathEscape(b.prefix+key)+"?alt=media", "", nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 == 2 {
		return res.Body, nil
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	err = refusal(res.StatusCode, answer)
	if res.StatusCode == http.StatusNotFound {
		err = fmt.Errorf("%w %s", err, noFolder)
	}
	return nil, err
}

func (b *gs) check(ctx context.Context) error {
	return b.write(ctx, checkKey, nil, "application/octet-stream")
}

// maxAnswer bounds what is read of an answer: metadata or an error.
const maxAnswer = 1 << 20

// send makes one call.
func (b *gs) send(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, b.endpoint+path, body)
	if err != nil {
		return nil, err
	}
	if sized, ok := body.(*io.LimitedReader); ok {
		r.ContentLength = sized.N
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return b.client.Do(r)
}

// refusal holds the error of an answer.
func refusal(status int, answer []byte) error {
	var says struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	_ = json.Unmarshal(answer, &says) // a proxy's page is no JSON
	return fmt.Errorf("HTTP %d: %.300s", status, cmp.Or(says.Error.Message, http.StatusText(status)))
}

// do makes one call and reads its JSON answer into out, unless out is nil.
func (b *gs) do(ctx context.Context, method, path, contentType string, body io.Reader, out any) (status int, err error) {
	res, err := b.send(ctx, method, path, contentType, body)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return res.StatusCode, err
	}
	if res.StatusCode/100 != 2 {
		return res.StatusCode, refusal(res.StatusCode, answer)
	}
	if out != nil {
		err = json.Unmarshal(answer, out)
	}
	return res.StatusCode, err
}
