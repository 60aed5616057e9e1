package store

import (
	"slices"
	"strings"
	"testing"

	"oneflow/jobs"
)

func TestWaitingStatesAreThoseThatNobodyHoldsAndThatHaveNotEnded(t *testing.T) {
	t.Parallel()
	var want []string
	for _, s := range jobs.States() {
		if s != jobs.Running && !s.Finished() {
			want = append(want, "'"+string(s)+"'")
		}
	}
	if got := strings.Split(strings.Trim(waitingStates, "()"), ", "); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
