package graph

// Entry is one key and value of an ordered string map.
type Entry struct {
	Key, Value string
	Wire       *Wire // nil where the file says nothing beyond key and value
}

// Wire holds what a serialized element said beyond its meaning, so that
// importing and exporting gives back the same file: fields written out although
// they hold their default, fields left out that are normally written whatever
// they hold (such as the type of an attribute), and fields that have no place
// here. Passes leave it alone.
type Wire struct {
	Present uint64 // bit n: field number n was written, holding its default value
	Omitted uint64 // bit n: field number n, which is normally written, was not
	Unknown []byte // fields without a place in this package, in wire format
}
