package ort

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "386": elf.EM_386, "arm": elf.EM_ARM,
	"riscv64": elf.EM_RISCV, "ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390, "loong64": elf.EM_LOONGARCH,
}

// inspect says why a file cannot be ONNX Runtime for this machine, without
// running any of its code, and returns its version where the file tells it
// ("" where it does not). Files other than ELF are judged by the loader alone.
func inspect(path string) (version string, err error) {
	if info, err := os.Stat(path); err != nil {
		return "", err
	} else if !info.Mode().IsRegular() {
		return "", errors.New("not a regular file")
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return "", nil
	}
	f, err := elf.Open(path)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			return "", err
		}
		return "", fmt.Errorf("not a shared library: %w", err)
	}
	defer f.Close()
	if f.Type != elf.ET_DYN {
		return "", fmt.Errorf("not a shared library: an ELF file of type %s", f.Type)
	}
	if want, ok := machines[runtime.GOARCH]; ok && f.Machine != want {
		return "", fmt.Errorf("for another processor: got %s, want %s", f.Machine, want)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return "", fmt.Errorf("not a readable shared library: %w", err)
	}
	if !slices.ContainsFunc(symbols, func(s elf.Symbol) bool {
		return s.Name == "OrtGetApiBase" && s.Section != elf.SHN_UNDEF
	}) {
		return "", errors.New("not ONNX Runtime: it does not export OrtGetApiBase")
	}
	versions, err := f.DynamicVersions()
	if err != nil {
		return "", nil // built without symbol versions
	}
	for _, v := range versions {
		if s, ok := strings.CutPrefix(v.Name, "VERS_"); ok {
			return s, nil
		}
	}
	return "", nil
}
