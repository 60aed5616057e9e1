package batches

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"oneflow/batches/rows"
)

// NewID makes a batch's id that is readable, sorts by time, and does not collide.
func NewID(now time.Time) string {
	return "b-" + now.UTC().Format("20060102-150405") + "-" + strings.ToLower(rand.Text()[:6])
}

// CheckID fails with what an id must be unless it may name a batch. The schema holds
// the same.
func CheckID(id string) error {
	alphanumeric := func(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
	ok := id != "" && len(id) <= 64 && alphanumeric(id[0])
	for i := range len(id) {
		ok = ok && (alphanumeric(id[i]) || strings.IndexByte("._-", id[i]) >= 0)
	}
	if !ok {
		return fmt.Errorf("batch id %s: must be 1 to 64 letters, digits, dots, - and _, the first a letter or digit", rows.Quoted(id))
	}
	return nil
}
