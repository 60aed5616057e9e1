package artifacts_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"oneflow/artifacts"
)

func open(t *testing.T, address string) *artifacts.Store {
	t.Helper()
	s, err := artifacts.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fetch reads what a URL names.
func fetch(t *testing.T, address string) []byte {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "file" {
		t.Fatalf("%q is no file URL: %v", address, err)
	}
	data, err := os.ReadFile(u.Path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// files lists what is in a folder.
func files(t *testing.T, folder string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, strings.TrimPrefix(path, folder+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestWhatIsPutIsFoundUnderItsURL(t *testing.T) {
	t.Parallel()
	plain := t.TempDir()
	odd := filepath.Join(t.TempDir(), "a folder with spaces", "100% ä #1 ?x")
	for name, address := range map[string]string{
		"plain folder":          plain,
		"folder with spaces":    odd,
		"file URL":              (&url.URL{Scheme: "file", Path: odd}).String(),
		"file URL on localhost": "file://localhost" + plain,
		"ends with a slash":     plain + "/",
	} {
		s := open(t, address)
		data := []byte("picture of " + name)
		at, _, err := s.Put(t.Context(), data, "image/png")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(fetch(t, at), data) {
			t.Errorf("%s: other bytes at %s", name, at)
		}
		sum := sha256.Sum256(data)
		hash := hex.EncodeToString(sum[:])
		if want := "/" + hash[:2] + "/" + hash + ".png"; !strings.HasSuffix(at, want) {
			t.Errorf("%s: got %s, which does not end in %s", name, at, want)
		}
	}
}

func TestARelativeFolderGivesURLsThatHoldEverywhere(t *testing.T) {
	t.Chdir(t.TempDir())
	s := open(t, "some/where")
	at, _, err := s.Put(t.Context(), []byte("x"), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("/")
	if string(fetch(t, at)) != "x" {
		t.Error(at)
	}
}

func TestWhatIsRemovedFromAFolderIsGone(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	at, _, err := s.Put(t.Context(), []byte("picture"), "image/png")
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(at, "file://")
	for range 2 { // what is gone already is no error
		if err := s.Remove(t.Context(), at); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", path, err)
	}
	for _, other := range []string{"file:///etc/passwd", strings.TrimSuffix(at, filepath.Base(path)) + "../../../etc/passwd", "s3://x/y"} {
		if err := s.Remove(t.Context(), other); err == nil || !strings.Contains(err.Error(), " is not in ") {
			t.Errorf("%s: %v", other, err)
		}
	}
}

func TestEqualBytesAreStoredOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	first, _, err := s.Put(t.Context(), []byte("same"), "image/png")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, files(t, dir)[0])
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := s.Put(t.Context(), []byte("same"), "image/png")
	if err != nil || first != second {
		t.Errorf("%s and %s, %v", first, second, err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("the object was written again: %v", err)
	}
	if other, _, err := s.Put(t.Context(), []byte("else"), "image/png"); err != nil || other == first {
		t.Errorf("%s, %v", other, err)
	}
	if list := files(t, dir); len(list) != 2 {
		t.Errorf("%q", list)
	}
}

func TestManyAtOnceMayPutEqualBytes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := open(t, dir), open(t, dir) // as of two workers
	data := bytes.Repeat([]byte("picture"), 100_000)
	urls := make([]string, 32)
	var wg sync.WaitGroup
	for i := range urls {
		s := one
		if i%2 == 0 {
			s = two
		}
		wg.Go(func() {
			var err error
			if urls[i], _, err = s.Put(t.Context(), data, "image/jpeg"); err != nil {
				t.Error(err)
			}
			if i%4 == 0 && !t.Failed() {
				if u, err := url.Parse(urls[i]); err != nil {
					t.Error(err)
				} else if got, err := os.ReadFile(u.Path); err != nil || !bytes.Equal(got, data) {
					t.Errorf("read while others write: %d bytes, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
	for _, u := range urls {
		if u != urls[0] {
			t.Errorf("%s and %s", u, urls[0])
		}
	}
	if list := files(t, dir); len(list) != 1 || !bytes.Equal(fetch(t, urls[0]), data) {
		t.Errorf("%q", list)
	}
}

func TestAMediaTypeOnlyChoosesTheEndingAndNeverLosesTheBytes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	for i, c := range []struct{ mime, ending string }{
		{"image/png", ".png"},
		{"image/jpeg", ".jpg"},
		{"image/webp", ".webp"},
		{"audio/mpeg", ".mp3"},
		{"audio/wav", ".wav"},
		{"audio/x-wav", ".wav"},
		{"audio/ogg; codecs=opus", ".ogg"},
		{"audio/flac", ".flac"},
		{"audio/aac", ".aac"},
		{"video/mp4", ".mp4"},
		{"IMAGE/PNG ; q=1", ".png"},
		{"", ".bin"},
		{"image/svg+xml", ".bin"},
		{"text/html", ".bin"},
		{"../../../etc/passwd", ".bin"},
		{"image/png/../../x", ".bin"},
		{"image/png\r\nX-Evil: 1", ".bin"},
		{"a;;;=\x00", ".bin"},
		{"\xff\xfe", ".bin"},
		{strings.Repeat("a", 10_000), ".bin"},
		{"image/<script>", ".bin"},
		{"image/png;=", ".png"},
	} {
		data := fmt.Appendf(nil, "bytes %d", i)
		at, _, err := s.Put(t.Context(), data, c.mime)
		if err != nil {
			t.Errorf("%.40q: %v", c.mime, err)
			continue
		}
		if filepath.Ext(at) != c.ending || !bytes.Equal(fetch(t, at), data) {
			t.Errorf("%.40q: got %s", c.mime, at)
		}
	}
	for _, name := range files(t, dir) {
		if len(name) > 2+1+64+5 || strings.Contains(name, "..") {
			t.Errorf("a file called %q", name)
		}
	}
}

func TestObjectsAreForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	if _, _, err := open(t, dir).Put(t.Context(), []byte("private"), ""); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestWhatCannotBeStoredIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	for _, nothing := range [][]byte{nil, {}} {
		if at, _, err := s.Put(t.Context(), nothing, "image/png"); err == nil {
			t.Errorf("nothing was stored at %s", at)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if at, _, err := s.Put(ctx, []byte("late"), "image/png"); err == nil {
		t.Errorf("stored at %s although nobody waits", at)
	}
	if list := files(t, dir); list != nil {
		t.Errorf("something is left: %q", list)
	}
}

func TestAnAddressThatCannotBeUsedIsToldWithoutItsSecrets(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"s3://key:canary@bucket/a?region=canary": "artifacts: s3://bucket/a: credentials do not stand in the URL",
		"s3://bucket/a?canari=x":                 `artifacts: s3://bucket/a: unknown parameter "canari"; there are: region, endpoint`,
		"s3://bucket?endpoint=canary":            "artifacts: s3://bucket: the endpoint cannot be read: it looks like https://host:port",
		"s3:///a":                                "artifacts: s3:///a: the bucket is missing; write s3://bucket/prefix",
		"gs://":                                  "artifacts: gs://: the bucket is missing",
		"nonsense://u:canary@host?canary":        `artifacts: nonsense://host: unknown kind of storage "nonsense"; use a folder, s3://bucket or gs://bucket`,
		"s3://canary\x7f:canary@bucket?canary":   "artifacts: the bucket's URL cannot be read",
		"file://relative/path":                   "artifacts: file://relative/path: a file URL has three slashes and a whole path",
		"file://":                                "artifacts: file://: a file URL has three slashes",
		file:                                     "artifacts: ",
		"file://" + file + "/below":              "artifacts: mkdir " + file,
	} {
		_, err := artifacts.Open(t.Context(), address)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q:\n got %v\nwant %s", address, err, want)
		}
	}
}
