// Package artifacts keeps pictures, sound and film in blob storage: a folder, or a
// bucket of Amazon S3, of a server that speaks its protocol, or of Google Cloud
// Storage. It imports nothing of OneFlow.
//
// An object is named by the hash of its bytes, so that equal bytes are stored
// once and an object never changes.
package artifacts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"strings"
	"time"
)

// Store is a folder or a bucket. It is safe for concurrent use.
type Store struct {
	bucket bucket
	base   string
}

// bucket keeps objects by key, such as "ab/abcd….png".
type bucket interface {
	// size returns an object's length in bytes; ok is false where there is none.
	size(ctx context.Context, key string) (n int64, ok bool, err error)
	// write stores an object, whole or not at all, in place of one of that key.
	write(ctx context.Context, key string, data []byte, contentType string) error
	// remove deletes an object; one that is not there is no error.
	remove(ctx context.Context, key string) error
	// writeFrom is write for size bytes of r, which are not held in memory.
	writeFrom(ctx context.Context, key string, r io.Reader, size int64, contentType string) error
	// open reads an object.
	open(ctx context.Context, key string) (io.ReadCloser, error)
	// check fails where objects cannot be written, which is better known before one
	// has been paid for.
	check(ctx context.Context) error
}

// checkTimeout is the time that a bucket may take to say that it can be written to.
const checkTimeout = 20 * time.Second

// Open opens the place at address, and makes sure that it can be written to:
//
//   - a plain folder or file:///a/folder, which is made with mode 0700 if it is
//     not there;
//   - s3://bucket/prefix, with ?region= and, for another server than Amazon's,
//     ?endpoint=https://host:port. Credentials come from AWS_ACCESS_KEY_ID and
//     AWS_SECRET_ACCESS_KEY, else ~/.aws/credentials, else the machine's role;
//   - gs://bucket/prefix, with Google's application default credentials.
//
// In a bucket the check writes an empty object called oneflow-check.
func Open(ctx context.Context, address string) (*Store, error) {
	s, err := open(ctx, address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := s.bucket.check(ctx); err != nil {
		return nil, fmt.Errorf("artifacts: %s cannot be written to: %w", redact(address), err)
	}
	return s, nil
}

func open(ctx context.Context, address string) (*Store, error) {
	folder, isFolder, err := folderOf(address)
	if err != nil {
		return nil, err
	}
	if isFolder {
		return openFolder(folder)
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("artifacts: the bucket's URL cannot be read: it looks like s3://bucket/prefix or gs://bucket/prefix")
	}
	base := u.Scheme + "://" + u.Host + u.Path
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		prefix += "/"
	}
	s := &Store{base: strings.TrimSuffix(base, "/") + "/"}
	switch {
	case u.Scheme != "s3" && u.Scheme != "gs":
		return nil, fmt.Errorf("artifacts: %s: unknown kind of storage %.20q; use a folder, s3://bucket or gs://bucket", redact(address), u.Scheme)
	case u.Host == "":
		return nil, fmt.Errorf("artifacts: %s: the bucket is missing; write %s://bucket/prefix", redact(address), u.Scheme)
	case u.User != nil:
		return nil, fmt.Errorf("artifacts: %s: credentials do not stand in the URL, which every result would show; set them in the environment", redact(address))
	case u.Scheme == "s3":
		s.bucket, err = openS3(u.Host, prefix, u.Query())
	default:
		s.bucket, err = openGS(ctx, u.Host, prefix, u.Query())
	}
	if err != nil {
		return nil, fmt.Errorf("artifacts: %s: %w", redact(address), err)
	}
	return s, nil
}

// known fails where query has a parameter that is not one of names.
func known(query url.Values, names ...string) error {
	for name := range query {
		found := false
		for _, n := range names {
			found = found || n == name
		}
		if !found {
			return fmt.Errorf("unknown parameter %.40q; there are: %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

// Put stores data, unless these bytes are there already, and returns their URL and
// their hash.
func (s *Store) Put(ctx context.Context, data []byte, mediaType string) (address string, sum [sha256.Size]byte, err error) {
	if len(data) == 0 {
		return "", sum, errors.New("artifacts: there is nothing to store")
	}
	sum = sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	key := name[:2] + "/" + name + extension(mediaType)
	// An object of another length is what a crash has left of one.
	n, ok, err := s.bucket.size(ctx, key)
	if err != nil {
		return "", sum, fmt.Errorf("artifacts: look for %s%s: %w", s.base, key, err)
	}
	if !ok || n != int64(len(data)) {
		if err := s.bucket.write(ctx, key, data, contentType(mediaType)); err != nil {
			return "", sum, fmt.Errorf("artifacts: write %s%s: %w", s.base, key, err)
		}
	}
	return s.base + key, sum, nil
}

// Keep stores size bytes of r under a name of letters, digits, - and /, in place of what
// was there, and returns their URL.
func (s *Store) Keep(ctx context.Context, name string, r io.Reader, size int64, mediaType string) (address string, err error) {
	if err := s.bucket.writeFrom(ctx, name, r, size, contentType(mediaType)); err != nil {
		return "", fmt.Errorf("artifacts: write %s%s: %w", s.base, name, err)
	}
	return s.base + name, nil
}

// Remove deletes what Put or Keep has stored at an address of this place; what is gone already is
// no error. It fails for an address of another place.
func (s *Store) Remove(ctx context.Context, address string) error {
	key, ok := strings.CutPrefix(address, s.base)
	if !ok || key == "" || strings.Contains(key, "..") {
		return fmt.Errorf("artifacts: %s is not in %s", redact(address), s.base)
	}
	if err := s.bucket.remove(ctx, key); err != nil {
		return fmt.Errorf("artifacts: remove %s: %w", redact(address), err)
	}
	return nil
}

// contentType is mime where that is a media type at all: the bytes are paid for and
// are kept whatever they are called.
func contentType(name string) string {
	if t, params, err := mime.ParseMediaType(name); err != nil || mime.FormatMediaType(t, params) == "" {
		return "application/octet-stream"
	}
	return name
}

// extension is the usual ending of a media type's files, so that a person can
// open them.
func extension(mediaType string) string {
	switch t, _, _ := strings.Cut(mediaType, ";"); strings.ToLower(strings.TrimSpace(t)) {
	case "image/png":
		return ".png"
	case "image/jpeg":
		return ".jpg"
	case "image/webp":
		return ".webp"
	case "audio/mpeg":
		return ".mp3"
	case "audio/wav", "audio/x-wav", "audio/wave":
		return ".wav"
	case "audio/ogg":
		return ".ogg"
	case "audio/flac":
		return ".flac"
	case "audio/aac":
		return ".aac"
	case "video/mp4":
		return ".mp4"
	}
	return ".bin"
}

// redact drops what may hold a secret.
func redact(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the bucket"
	}
	return u.Scheme + "://" + u.Host + u.Path
}
