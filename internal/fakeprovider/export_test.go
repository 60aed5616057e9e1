package fakeprovider

// Encodings lists all encodings, for tests.
func Encodings() []Encoding { return encodings() }
