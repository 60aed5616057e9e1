//go:build gs

package artifacts

import _ "gocloud.dev/blob/gcsblob" // gs:// URLs, with `go build -tags gs`
