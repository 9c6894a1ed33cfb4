package graph

// Entry is one key and value of an ordered string map.
type Entry struct{ Key, Value string }

// Wire holds what a serialized element said beyond its meaning, so that
// importing and exporting gives back the same file: fields written out although
// they hold their default, and fields this program does not know. Passes leave
// it alone.
type Wire struct {
	Present uint64 // bit n: field number n was written, holding its default value
	Unknown []byte // fields not in the schema, in wire format
}
