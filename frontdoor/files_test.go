package frontdoor_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"

	"oneflow/access"
	"oneflow/internal/fakeprovider"
	"oneflow/internal/storetest"
)

func TestAFileThatHasExpiredIsGoneWithItsBytes(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, false)
	client := h.openai(h.token(t, access.Enqueue, ""))
	params := file(line("a", "/v1/chat/completions", helloBody))
	params.ExpiresAfter = openai.FileNewParamsExpiresAfter{Seconds: 3600}
	up, err := client.Files.New(t.Context(), params)
	must(t, err)
	if left := up.ExpiresAt - up.CreatedAt; left != 3600 {
		t.Errorf("it expires after %d s", left)
	}
	_, err = storetest.Pool(t, h.dsn).Exec(t.Context(), `UPDATE api_files SET expires_at = now() - interval '1 second'`)
	must(t, err)
	for name, err := range map[string]error{
		"get": second(client.Files.Get(t.Context(), up.ID)), "read": unread(t, client, up.ID), "use": second(client.Batches.New(t.Context(), batchOf(up.ID))),
	} {
		if err == nil || !strings.Contains(err.Error(), "404") && !strings.Contains(err.Error(), "400") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, err := client.Files.List(t.Context(), openai.FileListParams{}); err != nil || len(list.Data) > 0 {
		t.Errorf("list: %+v %v", list, err)
	}
	kept := func() int {
		n := 0
		must(t, filepath.WalkDir(h.dir, func(_ string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				n++
			}
			return err
		}))
		return n
	}
	if kept() == 0 {
		t.Fatal("the bytes are somewhere else")
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); h.front().Run(ctx) }()
	eventually(t, "its bytes are gone", func() bool { return kept() == 0 })
	eventually(t, "its row is gone", func() bool {
		left, err := h.db.ExpiredFiles(t.Context(), 10)
		return err == nil && len(left) == 0
	})
	stop()
	<-done
}
