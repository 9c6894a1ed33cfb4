package exporter

// LimitModel lowers the size that a serialized model may have, until the
// returned function is called.
func LimitModel(size int64) (restore func()) {
	old := maxProto
	maxProto = size
	return func() { maxProto = old }
}
