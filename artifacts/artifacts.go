// Package artifacts keeps pictures, sound and film in blob storage. It imports
// nothing of OneFlow.
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
	"io/fs"
	"mime"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/gcerrors"
)

// Store is a bucket. It is safe for concurrent use.
type Store struct {
	bucket *blob.Bucket
	base   string
}

// Open opens the bucket at address: a file:// URL or a plain folder, which is
// made with mode 0700 if it is not there, or a URL of another driver that is
// linked in. The caller closes the Store.
func Open(ctx context.Context, address string) (*Store, error) {
	folder, isFolder, err := folderOf(address)
	if err != nil {
		return nil, err
	}
	if isFolder {
		return openFolder(folder)
	}
	scheme, _, _ := strings.Cut(address, "://")
	if !blob.DefaultURLMux().ValidBucketScheme(scheme) {
		return nil, fmt.Errorf("artifacts: open %s: this program has no driver for %.20q; use a folder or a file:// URL", redact(address), scheme)
	}
	bucket, err := blob.OpenBucket(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("artifacts: open %s: %w (folders and file:// are always there; s3:// and gs:// need a build with `-tags s3` or `-tags gs`)", redact(address), err)
	}
	base, _, _ := strings.Cut(address, "?")
	return &Store{bucket: bucket, base: strings.TrimSuffix(base, "/") + "/"}, nil
}

func openFolder(folder string) (*Store, error) {
	abs, err := filepath.Abs(folder)
	if err != nil {
		return nil, fmt.Errorf("artifacts: folder %s: %w", folder, err)
	}
	// Only the folder itself is private: others of ours share its parents.
	if err := os.MkdirAll(filepath.Dir(abs), 0o755); err != nil { //nolint:gosec // see above
		return nil, fmt.Errorf("artifacts: %w", err)
	}
	if err := os.Mkdir(abs, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("artifacts: %w", err)
	}
	bucket, err := fileblob.OpenBucket(abs, &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return nil, fmt.Errorf("artifacts: open folder %s: %w", abs, err)
	}
	return &Store{bucket: bucket, base: (&url.URL{Scheme: "file", Path: abs}).String() + "/"}, nil
}

// folderOf returns the folder that address names, if it names one.
func folderOf(address string) (folder string, ok bool, err error) {
	if !strings.Contains(address, "://") {
		return address, true, nil
	}
	if !strings.HasPrefix(address, "file://") {
		return "", false, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", false, errors.New("artifacts: the file URL cannot be read; write the folder itself")
	}
	if u.Host != "" && u.Host != "localhost" || u.Path == "" {
		return "", false, fmt.Errorf("artifacts: %s: a file URL has three slashes and a whole path, such as file:///var/lib/oneflow; or write the folder itself", redact(address))
	}
	return u.Path, true, nil
}

// Put stores data, unless these bytes are there already, and returns their URL.
func (s *Store) Put(ctx context.Context, data []byte, mediaType string) (string, error) {
	if len(data) == 0 {
		return "", errors.New("artifacts: there is nothing to store")
	}
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	key := name[:2] + "/" + name + extension(mediaType)
	// An object of another length is what a crash has left of one.
	attrs, err := s.bucket.Attributes(ctx, key)
	if err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return "", fmt.Errorf("artifacts: look for %s: %w", key, err)
	}
	if err != nil || attrs.Size != int64(len(data)) {
		if err := s.bucket.WriteAll(ctx, key, data, &blob.WriterOptions{ContentType: contentType(mediaType)}); err != nil {
			return "", fmt.Errorf("artifacts: write %s: %w", key, err)
		}
	}
	return s.base + key, nil
}

// Base is the URL that all objects' URLs begin with.
func (s *Store) Base() string { return s.base }

// Close closes the bucket.
func (s *Store) Close() error { return s.bucket.Close() }

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
