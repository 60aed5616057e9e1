package jobs_test

import (
	"fmt"

	"oneflow/jobs"
	"oneflow/providers"
)

// Rows that ask for the same have the same key, by which a producer that is run again
// accepts none of them twice.
func ExampleKeys() {
	row := func(prompt string) *jobs.New {
		return &jobs.New{Provider: "openai", Request: providers.Request{Task: providers.Text, Model: "gpt-4o-mini", Prompt: prompt}}
	}
	first, again, other := row("Why is the sky blue?"), row("Why is the sky blue?"), row("Why is the sea salt?")
	for _, r := range []*jobs.New{first, other} {
		if err := jobs.NewKeys().Assign(r); err != nil {
			fmt.Println(err)
		}
	}
	if err := jobs.NewKeys().Assign(again); err != nil { // the next run
		fmt.Println(err)
	}
	fmt.Println(first.Key == again.Key, first.Key == other.Key)
	// Output: true false
}

// A job ends in exactly one of these states.
func ExampleState() {
	for _, s := range jobs.States() {
		if s.Finished() {
			fmt.Println(s)
		}
	}
	// Output:
	// succeeded
	// failed
	// cancelled
	// expired
	// unknown
}
