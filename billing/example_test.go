package billing_test

import (
	"fmt"
	"time"

	"oneflow/billing"
	"oneflow/providers"
)

// A call is reserved at the most that it can cost, and settled at what it did.
func Example() {
	list, err := billing.Embedded()
	if err != nil {
		fmt.Println(err)
		return
	}
	began := time.Date(2026, 9, 15, 12, 0, 0, 0, time.UTC)
	req := providers.Request{Task: providers.Text, Model: "gpt-4o-mini", Prompt: "Why is the sky blue?", MaxTokens: 100}

	most, err := list.Reserve("openai", req.Model, list.UpperBound("openai", req, began), began)
	if err != nil {
		fmt.Println(err)
		return
	}
	charge, err := list.Cost("openai", req.Model, providers.Usage{InputTokens: 13, OutputTokens: 60}, began)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("reserved", most.Amount, "charged", charge.Amount, "by")
	for _, id := range charge.Rows {
		fmt.Println(" ", id)
	}
	// Output:
	// reserved 0.0000726 charged 0.00003795 by
	//   openai/gpt-4o-mini/input_tokens@2024-07-18
	//   openai/gpt-4o-mini/output_tokens@2024-07-18
}
