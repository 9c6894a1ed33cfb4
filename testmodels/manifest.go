package testmodels

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// binary lists the endings of the files the manifest accounts for.
var binary = []string{".onnx", ".bin", ".zip"}

// Digest is the size in bytes and the SHA-256 of one file.
type Digest struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Manifest returns the digests in manifest.json below dir, by slash-separated
// path.
func Manifest(dir string) (map[string]Digest, error) {
	file := filepath.Join(dir, "manifest.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("testmodels: manifest: %w", err)
	}
	var m map[string]Digest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("testmodels: %s: %w", file, err)
	}
	return m, nil
}

// Digests computes what the manifest should say: the digest of every model,
// tensor file and archive below dir.
func Digests(dir string) (map[string]Digest, error) {
	m := map[string]Digest{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !isBinary(path) {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		m[filepath.ToSlash(rel)] = Digest{int64(len(data)), hex.EncodeToString(sum[:])}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("testmodels: digests below %s: %w", dir, err)
	}
	return m, nil
}

func isBinary(path string) bool {
	for _, end := range binary {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}
