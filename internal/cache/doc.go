// Package cache keeps what was expensive to find out, by the digest of
// everything that it depends on.
//
//	c := &cache.Cache{Dir: dir}
//	key := cache.Key{"statistics", digest, 0.4}
//	var m Moments
//	if !c.Load(key, &m) {
//		m = ...
//		c.Save(key, "statistics of deit.onnx", m)
//	}
//
// An entry is one file, written beside its name and renamed, with a checksum
// over its content: several processes may share a folder, the worst they do is
// the same work. A damaged entry is removed and counts as none, so that it is
// found out anew. The package may import internal/fault.
package cache
