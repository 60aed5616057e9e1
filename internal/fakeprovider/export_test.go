package fakeprovider

// Encodings lists all encodings, for tests.
func Encodings() []Encoding { return encodings() }

// Sample is a valid request that generates something, whose prompt is "secret prompt".
type Sample struct {
	Path, Body string
	// Header is there beside its type; it carries the key.
	Header map[string]string
}

// SampleOf returns the request that a vendor's own test file gives, by a method of its half of
// the server, so that the tests of all vendors know it.
func SampleOf(name Vendor, key string) Sample {
	for _, v := range vendors(Config{}) {
		if own, ok := v.(interface{ sample(key string) Sample }); ok && v.name() == name {
			return own.sample(key)
		}
	}
	return Sample{}
}
