package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"os"

	"nuwa/internal/fault"
	"nuwa/internal/ort/release"
)

const again = "fetch it again; if it stays different, the download is being altered on its way"

// extract takes lib out of the npm archive and writes it to target, after
// checking the digest of the archive and that of the library. On an error
// target does not exist.
func extract(archive, integrity string, lib release.File, target string) error {
	f, err := os.Open(archive)
	if err != nil {
		return &fault.Error{Kind: fault.IO, File: archive, Err: err}
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return &fault.Error{Kind: fault.IO, File: archive, Err: err}
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(h.Sum(nil)); got != integrity {
		return &fault.Error{Kind: fault.Check, File: archive, Got: got, Want: integrity, Remedy: again}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return &fault.Error{Kind: fault.IO, File: archive, Err: err}
	}
	zip, err := gzip.NewReader(f)
	if err != nil {
		return &fault.Error{Kind: fault.Check, File: archive, Err: err, Remedy: again}
	}
	for entries := tar.NewReader(zip); ; {
		head, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return &fault.Error{Kind: fault.Check, File: archive, Got: "no such entry", Want: lib.Entry}
		}
		if err != nil {
			return &fault.Error{Kind: fault.Check, File: archive, Err: err, Remedy: again}
		}
		if head.Name == lib.Entry {
			return install(entries, lib, target)
		}
	}
}

// install copies the library to target, synced and executable, and removes it
// again when its digest is wrong.
func install(r io.Reader, lib release.File, target string) error {
	out, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return &fault.Error{Kind: fault.IO, File: target, Err: err}
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), r)
	err = errors.Join(err, out.Sync(), out.Close())
	if err != nil {
		err = &fault.Error{Kind: fault.IO, File: target, Err: err}
	} else if got := hex.EncodeToString(h.Sum(nil)); got != lib.SHA256 {
		err = &fault.Error{Kind: fault.Check, File: lib.Entry, Got: "sha256 " + got, Want: lib.SHA256, Remedy: again}
	}
	if err != nil {
		os.Remove(target)
	}
	return err
}
