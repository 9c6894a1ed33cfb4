package ort

import (
	"os"

	"golang.org/x/sys/unix"

	"nuwa/internal/fault"
)

// mapBytes is the size from which a model file is mapped instead of read.
const mapBytes = 16 << 20

// contents returns what is in a file, mapped where it is large. The bytes must
// not be used after drop.
func contents(path, name string) (data []byte, drop func(), err error) {
	fail := func(err error) ([]byte, func(), error) {
		return nil, nil, &fault.Error{Kind: fault.IO, File: name, Err: err, Remedy: "check the path and the permissions"}
	}
	f, err := os.Open(path)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() >= mapBytes {
		if data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE); err == nil {
			return data, func() { _ = unix.Munmap(data) }, nil // what was mapped can be unmapped
		}
	}
	data, err = os.ReadFile(path)
	if err != nil {
		return fail(err)
	}
	return data, func() {}, nil
}
