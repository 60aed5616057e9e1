package providertest

import (
	"context"
	"runtime/pprof"
	"testing"

	"oneflow/providers"
)

func TestAGoroutineThatACallLeavesIsFound(t *testing.T) {
	t.Parallel()
	stop, running, stopped := make(chan struct{}), make(chan struct{}), make(chan struct{})
	pprof.Do(t.Context(), pprof.Labels("providertest", t.Name()), func(context.Context) {
		go func() {
			go func() { // a goroutine of a goroutine, as clients have them
				defer close(stopped)
				close(running)
				<-stop
			}()
		}()
	})
	<-running
	if labelled(t, t.Name()) == "" {
		t.Error("a goroutine that still runs is not found")
	}
	if left := labelled(t, "another"); left != "" {
		t.Errorf("found for another test: %s", left)
	}
	close(stop)
	<-stopped
}

func TestEveryFaultHasAMeaning(t *testing.T) {
	t.Parallel()
	for _, fault := range Faults() {
		if _, ok := failures()[fault]; !ok {
			t.Errorf("%s has none", fault)
		}
	}
}

func TestEveryOptionOfARequestIsTried(t *testing.T) {
	t.Parallel()
	for _, name := range providers.RequestFields() {
		switch name {
		case "task", "model", "prompt", "messages", "extra", "endpoint", "body":
		case "reask", "on_cut", "cache_seconds", "cache_varied", "combine": // never sent
		default:
			if options()[name] == "" {
				t.Errorf("%s is not", name)
			}
		}
	}
}
