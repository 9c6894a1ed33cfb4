package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// How much of the heap may be garbage: little of a large one, in percent of what is
// alive, as weights are most of that and live long; but enough, in bytes, that
// small models are not collected all the time.
const (
	garbage     = 30
	garbageFree = 128 << 20
)

// collectSeldom sets how much garbage may be there, now and after every
// collection.
func collectSeldom() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(int(max(garbage, garbageFree*100/max(live[0].Value.Uint64(), 4<<20))))
	runtime.SetFinalizer(new([16]byte), func(*[16]byte) { collectSeldom() })
}
