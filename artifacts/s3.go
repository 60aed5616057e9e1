package artifacts

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// checkKey is the object that check writes into a bucket.
const checkKey = "oneflow-check"

// s3 is a bucket of Amazon S3 or of a server that speaks its protocol.
type s3 struct {
	client         *minio.Client
	bucket, prefix string
}

func openS3(name, prefix string, query url.Values) (bucket, error) {
	if err := known(query, "region", "endpoint"); err != nil {
		return nil, err
	}
	endpoint, err := url.Parse(cmp.Or(query.Get("endpoint"), os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), "https://s3.amazonaws.com"))
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "https" && endpoint.Scheme != "http" || endpoint.User != nil {
		return nil, errors.New("the endpoint cannot be read: it looks like https://host:port")
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Secure: endpoint.Scheme == "https",
		Region: cmp.Or(query.Get("region"), os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")),
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
		}),
	})
	if err != nil {
		return nil, err
	}
	return &s3{client: client, bucket: name, prefix: prefix}, nil
}

func (b *s3) size(ctx context.Context, key string) (int64, bool, error) {
	info, err := b.client.StatObject(ctx, b.bucket, b.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
			return 0, false, nil
		}
		return 0, false, err
	}
	return info.Size, true, nil
}

func (b *s3) write(ctx context.Context, key string, data []byte, contentType string) error {
	return b.writeFrom(ctx, key, bytes.NewReader(data), int64(len(data)), contentType)
}

func (b *s3) writeFrom(ctx context.Context, key string, r io.Reader, size int64, contentType string) error {
	_, err := b.client.PutObject(ctx, b.bucket, b.prefix+key, r, size, minio.PutObjectOptions{ContentType: contentType, PartSize: partSize, NumThreads: 1})
	return err
}

func (b *s3) remove(ctx context.Context, key string) error {
	err := b.client.RemoveObject(ctx, b.bucket, b.prefix+key, minio.RemoveObjectOptions{})
	if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
		return nil
	}
	return err
}

// partSize is the size of the parts, in bytes, in which a large object is sent and held in memory.
const partSize = 64 << 20

func (b *s3) open(ctx context.Context, key string) (io.ReadCloser, error) {
	if _, err := b.client.StatObject(ctx, b.bucket, b.prefix+key, minio.StatObjectOptions{}); err != nil {
		if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
			err = fmt.Errorf("%w %s", err, noFolder)
		}
		return nil, err
	}
	return b.client.GetObject(ctx, b.bucket, b.prefix+key, minio.GetObjectOptions{})
}

func (b *s3) check(ctx context.Context) error {
	err := b.write(ctx, checkKey, nil, "application/octet-stream")
	if err != nil {
		if r := minio.ToErrorResponse(err); r.Code != "" {
			return fmt.Errorf("%s: %w; is the bucket's name right, and may these credentials write objects?", r.Code, err)
		}
	}
	return err
}
