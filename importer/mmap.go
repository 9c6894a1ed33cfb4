package importer

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// mapFile returns the contents of a regular file, mapped read-only for the
// rest of the process's life. Where a file system cannot map, it is read.
func mapFile(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if size == 0 {
		return nil, nil
	}
	if int64(int(size)) != size {
		return nil, fmt.Errorf("%d bytes are more than this machine can address", size)
	}
	if data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE); err == nil {
		mappings.Lock()
		mappings.all = append(mappings.all, data)
		mappings.Unlock()
		return data, nil
	}
	return io.ReadAll(f)
}

var mappings struct {
	sync.Mutex
	all [][]byte
}

// Unload tells the system that the contents of model files are not needed in
// memory just now. They are read again when they are.
func Unload() {
	mappings.Lock()
	defer mappings.Unlock()
	for _, data := range mappings.all {
		_ = unix.Madvise(data, unix.MADV_DONTNEED) // a hint
	}
}
