package fleet

// Rank sorts candidates, the best first.
func Rank(list []Candidate) { rank(list) }
