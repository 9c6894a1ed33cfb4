package testmodels

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

// unpacked returns a folder that holds the files of a zip archive. It lies among
// the machine's temporary files, under a name that tells the archive's contents,
// so that it is made once.
func unpacked(archive string) (string, error) {
	data, err := os.ReadFile(archive)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("nuwa-testmodels-%d-%x", os.Getuid(), sha256.Sum256(data)))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", fmt.Errorf("%s: %w", archive, err)
	}
	part, err := os.MkdirTemp("", "nuwa-testmodels-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(part)
	if err := os.CopyFS(part, r); err != nil {
		return "", fmt.Errorf("%s: %w", archive, err)
	}
	if err := os.Rename(part, dir); err != nil {
		if _, there := os.Stat(dir); there != nil { // else another process was faster
			return "", err
		}
	}
	return dir, nil
}
