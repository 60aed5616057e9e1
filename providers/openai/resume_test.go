package openai_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/openai"
)

// told returns a context that collects the handles that a call tells.
func told(t *testing.T) (context.Context, *[]string) {
	t.Helper()
	var handles []string
	return providers.WithOrders(t.Context(), func(_ context.Context, handle string) error {
		handles = append(handles, handle)
		return nil
	}), &handles
}

func TestTheHandleOfAFilmIsToldAsLongAsItMayBeMade(t *testing.T) {
	t.Parallel()
	down := says(http.StatusInternalServerError, "application/json", `{}`)
	forgotten := says(http.StatusNotFound, "application/json", `{}`)
	for name, tt := range map[string]struct {
		script []http.HandlerFunc
		want   []string
	}{
		"made":           {[]http.HandlerFunc{status("queued"), status("completed")}, []string{"video_1"}},
		"not ordered":    {[]http.HandlerFunc{down}, nil},
		"failed at once": {[]http.HandlerFunc{status("failed")}, nil},
		"failed":         {[]http.HandlerFunc{status("queued"), status("failed")}, []string{"video_1", ""}},
		"forgotten":      {[]http.HandlerFunc{status("queued"), forgotten}, []string{"video_1", ""}},
		"known to another replica": {
			[]http.HandlerFunc{status("queued"), forgotten, forgotten, status("completed")}, []string{"video_1"},
		},
		"out of sight": {[]http.HandlerFunc{status("queued"), down}, []string{"video_1"}},
		"no key":       {[]http.HandlerFunc{status("queued"), says(http.StatusUnauthorized, "application/json", `{}`)}, []string{"video_1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, handles := told(t)
			_, _ = provider(t, films(t, filmContent, tt.script...), compatible).Generate(ctx, video())
			if diff := cmp.Diff(tt.want, *handles); diff != "" {
				t.Errorf("handles (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnOrderThatIsGoneOnWithIsNotOrderedAgain(t *testing.T) {
	t.Parallel()
	s := films(t, filmContent, status("in_progress"), status("completed"))
	got, err := provider(t, s, compatible).Resume(t.Context(), video(), "video_1")
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for _, c := range s.Requests() {
		calls = append(calls, c.Method+" "+c.URL)
	}
	if diff := cmp.Diff([]string{"GET /v1/videos/video_1", "GET /v1/videos/video_1", "GET /v1/videos/video_1/content"}, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if len(got.Blobs) != 1 || string(got.Blobs[0].Data) != mp4 || got.Usage != (providers.Usage{MilliSeconds: 4000, Variant: "640x360"}) || got.RequestID != "video_1" {
		t.Errorf("response = %+v", got)
	}
}

// Whoever cannot look does not know: the order stays on the bill.
func TestNobodyLooksAtAnOrderWithoutAKey(t *testing.T) {
	t.Parallel()
	s := films(t, filmContent, status("completed"))
	_, err := provider(t, s, func(c *openai.Config) {
		c.Key = func(context.Context) (string, error) { return "", errors.New("no such secret") }
	}).Resume(t.Context(), video(), "video_1")
	if e := providers.AsError("mine", err); e.Billing != providers.BillingUnknown || len(s.Requests()) != 0 {
		t.Errorf("error = %+v after %d calls", e, len(s.Requests()))
	}
}
