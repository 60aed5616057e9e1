package artifacts_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"oneflow/artifacts"
)

// objects is a server with one bucket called pictures, which speaks a little of
// Amazon's and of Google's protocol.
type objects struct {
	mu     sync.Mutex
	data   map[string]string
	types  map[string]string
	writes int
	closed bool // refuses writing
}

func serve(t *testing.T) (*objects, string) {
	t.Helper()
	o := &objects{data: map[string]string{}, types: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /pictures/{key...}", o.putS3)
	mux.HandleFunc("HEAD /pictures/{key...}", o.headS3)
	mux.HandleFunc("GET /pictures/{key...}", o.getS3)
	mux.HandleFunc("PUT /", func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusNotFound, "NoSuchBucket") })
	mux.HandleFunc("POST /upload/storage/v1/b/{bucket}/o", o.putGS)
	remove := func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if _, ok := o.data[r.PathValue("key")]; !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		delete(o.data, r.PathValue("key"))
		w.WriteHeader(http.StatusNoContent)
	}
	mux.HandleFunc("DELETE /pictures/{key...}", remove)
	mux.HandleFunc("DELETE /storage/v1/b/{bucket}/o/{key...}", remove)
	mux.HandleFunc("GET /storage/v1/b/{bucket}/o/{key...}", o.getGS)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return o, s.URL
}

func (o *objects) put(key, contentType, data string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.data[key], o.types[key] = data, contentType
	if key != "oneflow-check" && !strings.HasSuffix(key, "/oneflow-check") {
		o.writes++
	}
	return true
}

func (o *objects) get(key string) (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	data, ok := o.data[key]
	return data, ok
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>said %s</Message></Error>", code, code)
}

func (o *objects) putS3(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=id/") {
		refuse(w, http.StatusForbidden, "InvalidAccessKeyId")
		return
	}
	var data string
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		data = chunked(r.Body)
	} else {
		b, _ := io.ReadAll(r.Body)
		data = string(b)
	}
	if !o.put(r.PathValue("key"), r.Header.Get("Content-Type"), data) {
		refuse(w, http.StatusForbidden, "AccessDenied")
		return
	}
	w.Header().Set("ETag", `"x"`)
}

// chunked reads Amazon's chunks: the length in hexadecimal digits, a signature, the
// bytes.
func chunked(r io.Reader) string {
	var out strings.Builder
	for b := bufio.NewReader(r); ; {
		line, err := b.ReadString('\n')
		length, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, parseErr := strconv.ParseInt(length, 16, 64)
		if err != nil || parseErr != nil || n == 0 {
			return out.String()
		}
		_, _ = io.CopyN(&out, b, n)
		_, _ = b.Discard(2)
	}
}

func (o *objects) headS3(w http.ResponseWriter, r *http.Request) {
	data, ok := o.get(r.PathValue("key"))
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("ETag", `"x"`)
	w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
}

func (o *objects) getS3(w http.ResponseWriter, r *http.Request) {
	o.headS3(w, r)
	data, _ := o.get(r.PathValue("key"))
	fmt.Fprint(w, data)
}

func (o *objects) putGS(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	if r.PathValue("bucket") != "pictures" || !o.put(r.URL.Query().Get("name"), r.Header.Get("Content-Type"), string(data)) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"error":{"message":"no storage.objects.create access"}}`)
		return
	}
	fmt.Fprint(w, `{}`)
}

func (o *objects) getGS(w http.ResponseWriter, r *http.Request) {
	data, ok := o.get(r.PathValue("key"))
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if r.URL.Query().Get("alt") == "media" {
		fmt.Fprint(w, data)
		return
	}
	fmt.Fprintf(w, `{"size":"%d"}`, len(data))
}

// buckets returns the server and, by protocol, the address of its bucket.
func buckets(t *testing.T) (*objects, map[string]string) {
	t.Helper()
	o, at := serve(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("STORAGE_EMULATOR_HOST", at)
	return o, map[string]string{
		"s3": "s3://pictures/of/today?region=eu-west-1&endpoint=" + at,
		"gs": "gs://pictures/of/today",
	}
}

//nolint:paralleltest // it sets the environment
func TestABucketKeepsWhatIsPutOnceUnderItsURL(t *testing.T) {
	o, addresses := buckets(t)
	for kind, address := range addresses {
		s := open(t, address)
		before := o.writes
		data := strings.Repeat("picture for "+kind, 10_000)
		at, _, err := s.Put(t.Context(), []byte(data), "image/png")
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := s.Put(t.Context(), []byte(data), "image/png")
		if err != nil || again != at {
			t.Errorf("%s, %v, want %s", again, err, at)
		}
		if want := kind + "://pictures/of/today/"; !strings.HasPrefix(at, want) {
			t.Errorf("put at %s, which is not under %s", at, want)
		}
		key := strings.TrimPrefix(at, kind+"://pictures/")
		if got, _ := o.get(key); got != data || o.types[key] != "image/png" || !strings.HasSuffix(key, ".png") {
			t.Errorf("%s: %d bytes of type %s", key, len(got), o.types[key])
		}
		if n := o.writes - before; n != 1 {
			t.Errorf("%s: written %d times", kind, n)
		}
		// What a crash has left of an object is replaced.
		o.data[key] = "pict"
		if _, _, err := s.Put(t.Context(), []byte(data), "image/png"); err != nil || o.data[key] != data {
			t.Errorf("%s: half an object stays: %v", kind, err)
		}
		for range 2 { // what is gone already is no error
			if err := s.Remove(t.Context(), at); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		if _, ok := o.get(key); ok {
			t.Errorf("%s: %s is still there", kind, key)
		}
		if err := s.Remove(t.Context(), "s3://elsewhere/x.png"); err == nil || !strings.Contains(err.Error(), "is not in "+kind+"://pictures/of/today/") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

//nolint:paralleltest // it sets the environment
func TestABucketThatCannotBeWrittenToIsToldBeforeAnythingIsPaidFor(t *testing.T) {
	o, addresses := buckets(t)
	o.closed = true
	for kind, want := range map[string]string{"s3": "AccessDenied", "gs": "no storage.objects.create access"} {
		_, err := artifacts.Open(t.Context(), addresses[kind])
		if err == nil || !strings.HasPrefix(err.Error(), "artifacts: "+kind+"://pictures/of/today cannot be written to: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
	o.closed = false
	_, err := artifacts.Open(t.Context(), strings.Replace(addresses["s3"], "pictures", "pictured", 1))
	if err == nil || !strings.Contains(err.Error(), "NoSuchBucket") || !strings.Contains(err.Error(), "is the bucket's name right") {
		t.Errorf("%v", err)
	}
}

//nolint:paralleltest // it sets the environment
func TestAFailedLookOrWriteSaysWhereAndStoresNothing(t *testing.T) {
	o, addresses := buckets(t)
	for kind, address := range addresses {
		s := open(t, address)
		o.closed = true
		at, _, err := s.Put(t.Context(), []byte("x"+kind), "image/png")
		if err == nil || !strings.Contains(err.Error(), "write "+kind+"://pictures/of/today/") {
			t.Errorf("%s, %v", at, err)
		}
		o.closed = false
	}
}

//nolint:paralleltest // it sets the environment
func TestAnObjectIsWrittenAndReadByItsURL(t *testing.T) {
	_, addresses := buckets(t)
	addresses["file"] = "file://" + t.TempDir() + "/today"
	for kind, address := range addresses {
		base, query, _ := strings.Cut(address, "?")
		at := base + "-results.csv?" + query
		if kind != "s3" {
			at = base + "-results.csv"
		}
		text := strings.Repeat("of "+kind, 100_000)
		if err := artifacts.WriteObject(t.Context(), at, strings.NewReader(text), int64(len(text)), "text/csv"); err != nil {
			t.Fatal(err)
		}
		r, err := artifacts.OpenObject(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != text || r.Close() != nil {
			t.Errorf("%s: %d bytes of %d, %v", kind, len(got), len(text), err)
		}
		gone := strings.Replace(at, "-results", "-nothing", 1)
		if _, err := artifacts.OpenObject(t.Context(), gone); err == nil || !strings.HasPrefix(err.Error(), "read "+kind+"://") || strings.Contains(err.Error(), "endpoint") {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, bad := range []string{"s3://pictures", "s3://pictures/", "gs://pictures/folder/", "file:///"} {
		if _, err := artifacts.OpenObject(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "names no object") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
