package store

// The bounds of a budget's period, for tests with a clock of their own.
const (
	BudgetBegan = budgetBegan
	BudgetEnds  = budgetEnds
)
