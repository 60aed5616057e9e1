//go:build s3

package artifacts

import _ "gocloud.dev/blob/s3blob" // s3:// URLs, with `go build -tags s3`
