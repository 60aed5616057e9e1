package cli

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

func TestAnOutageIsToldAfterTwoSecondsAndThenEveryTen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		address string
		limit   time.Duration
		cause   error
		want    []int   // the seconds at which it is told
		ends    float64 // in seconds
	}{
		"a server elsewhere":                      {"redis://10.1.2.3:6379", 0, syscall.ECONNREFUSED, []int{2, 12, 22}, 30},
		"one that is silent here":                 {"redis://127.0.0.1:6379", 0, errors.New("silent"), []int{2, 12, 22}, 30},
		"nothing listens on this machine":         {"redis://127.0.0.1:6379", 0, syscall.ECONNREFUSED, []int{2}, 3},
		"nothing listens, by name":                {"redis://localhost:6379", 0, syscall.ECONNREFUSED, []int{2}, 3},
		"nothing listens, and somebody will wait": {"redis://[::1]:6379", 15 * time.Second, syscall.ECONNREFUSED, []int{2, 12}, 15},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var told []int
				log := zerolog.New(writerFunc(func(line string) {
					if strings.Contains(line, "does not answer, waiting") {
						told = append(told, int(time.Since(began).Seconds()))
					}
				}))
				s := Services{ConnectTimeout: c.limit}
				err := s.wait(t.Context(), log, "Redis", "REDIS_URL", c.address, func(context.Context) error { return c.cause })
				var stderr bytes.Buffer
				if code := Code("x", &stderr, err); code != Unavailable || time.Since(began).Seconds() != c.ends {
					t.Errorf("exit %d after %s: %s, want %g s", code, time.Since(began), stderr.String(), c.ends)
				}
				if !slices.Equal(told, c.want) {
					t.Errorf("told after %d seconds, want %d", told, c.want)
				}
			})
		})
	}
}

type writerFunc func(line string)

func (w writerFunc) Write(p []byte) (int, error) { w(string(p)); return len(p), nil }
