package importer

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mapFile returns the contents of a regular file, mapped read-only for the
// rest of the process's life.
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
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes into memory: %w", size, err)
	}
	return data, nil
}
