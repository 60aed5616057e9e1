package artifacts

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
)

// IsURL reports whether a name is that of an object in a bucket, or a file URL, rather
// than a path.
func IsURL(name string) bool {
	return strings.HasPrefix(name, "s3://") || strings.HasPrefix(name, "gs://") || strings.HasPrefix(name, "file://")
}

// noFolder is said of an object that is not there.
const noFolder = "(one object is read, and no folder of them)"

// OpenObject opens one object by its URL for reading, wherever it came from: see Open
// for the forms of buckets.
func OpenObject(ctx context.Context, address string) (io.ReadCloser, error) {
	s, key, err := object(ctx, address)
	if err != nil {
		return nil, err
	}
	r, err := s.bucket.open(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", redact(address), err)
	}
	return r, nil
}

// WriteObject stores size bytes of r as the object of that URL, whole or not at all.
func WriteObject(ctx context.Context, address string, r io.Reader, size int64, mediaType string) error {
	s, key, err := object(ctx, address)
	if err != nil {
		return err
	}
	if err := s.bucket.writeFrom(ctx, key, r, size, mediaType); err != nil {
		return fmt.Errorf("write %s: %w", redact(address), err)
	}
	return nil
}

// CheckObject fails where an address can be that of no object, whatever there is. It opens nothing.
func CheckObject(address string) error {
	u, err := url.Parse(address)
	if err != nil || strings.Trim(u.Path, "/") == "" || strings.HasSuffix(u.Path, "/") {
		return noObject(address)
	}
	_, isFolder, err := folderOf(address)
	if err == nil && !isFolder && u.Host == "" {
		err = fmt.Errorf("%s: the bucket is missing; write %s://bucket/folder/name", redact(address), u.Scheme)
	}
	return err
}

func noObject(address string) error {
	return fmt.Errorf("%s: names no object: it looks like s3://bucket/folder/name or gs://bucket/folder/name", redact(address))
}

// object returns the place that an object is in, and its key there.
func object(ctx context.Context, address string) (*Store, string, error) {
	u, err := url.Parse(address)
	key := ""
	if err == nil {
		key = path.Base(u.Path)
	}
	if err != nil || strings.Trim(u.Path, "/") == "" || strings.HasSuffix(u.Path, "/") {
		return nil, "", noObject(address)
	}
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, key), ""
	if folder, ok, err := folderOf(u.String()); err != nil {
		return nil, "", err
	} else if ok {
		return &Store{bucket: plainFolder(folder)}, key, nil
	}
	s, err := open(ctx, u.String())
	return s, key, err
}
