// Command fetch puts the pinned ONNX Runtime library into the project's cache.
//
// npm downloads the package without running its scripts; the package and the
// library taken out of it must both match the digests in package release, and
// the library gets its name only after that. A library that is already right
// is left alone, so the command is cheap to repeat.
//
//	go run ./internal/ort/fetch
//	go run ./internal/ort/fetch -dir /opt/nuwa
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"

	"nuwa/internal/fault"
	"nuwa/internal/files"
	"nuwa/internal/ort/release"
)

func main() {
	dir := flag.String("dir", "", "folder for the library (default: the project's "+release.CacheDir+")")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		stop()
		os.Exit(fault.ExitCode(err))
	}
}

const ownLibrary = "or set " + release.Env + " to an installed library of that release or a newer one"

func run(ctx context.Context, dir string) error {
	if own := os.Getenv(release.Env); own != "" && dir == "" {
		fmt.Printf("ONNX Runtime: %s names %s; nothing to fetch\n", release.Env, own)
		return nil
	}
	lib, ok := release.For(runtime.GOOS, runtime.GOARCH)
	if !ok {
		return &fault.Error{Kind: fault.Runtime, Where: "ONNX Runtime",
			Got:    "the platform " + runtime.GOOS + "/" + runtime.GOARCH + ", for which " + release.Package + " has no library",
			Remedy: "build ONNX Runtime 1." + fmt.Sprint(release.MinAPI) + " or newer and set " + release.Env + " to it"}
	}
	if dir == "" {
		wd, err := os.Getwd()
		if err != nil {
			return &fault.Error{Kind: fault.IO, Where: "working directory", Err: err}
		}
		root, ok := release.Root(wd)
		if !ok {
			return &fault.Error{Kind: fault.Usage, File: wd, Got: "no go.mod of module nuwa here or above",
				Remedy: "run it inside the project, or give -dir"}
		}
		dir = filepath.Join(root, filepath.FromSlash(release.CacheDir))
	}
	target := filepath.Join(dir, lib.Name)
	if sum, err := files.Digest(target); err == nil && sum == lib.SHA256 {
		fmt.Printf("ONNX Runtime %s: %s is right\n", release.Version, target)
		return nil
	}

	start := time.Now()
	fmt.Printf("ONNX Runtime %s: fetching %s with npm (100 MB)\n", release.Version, release.Package)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return &fault.Error{Kind: fault.IO, File: dir, Err: err}
	}
	tmp, err := os.MkdirTemp(dir, "fetch-*.tmp")
	if err != nil {
		return &fault.Error{Kind: fault.IO, File: dir, Err: err}
	}
	defer os.RemoveAll(tmp)
	archive, err := npmPack(ctx, tmp)
	if err != nil {
		return err
	}
	part := filepath.Join(tmp, lib.Name)
	if err := extract(archive, release.Integrity, lib, part); err != nil {
		return err
	}
	if err := os.Rename(part, target); err != nil {
		return &fault.Error{Kind: fault.IO, File: target, Err: err}
	}
	fmt.Printf("ONNX Runtime %s: %s, digests checked, %.1f s\n", release.Version, target, time.Since(start).Seconds())
	return nil
}

// npmPack downloads the package archive into dir and returns its path.
func npmPack(ctx context.Context, dir string) (string, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", &fault.Error{Kind: fault.Runtime, Where: "ONNX Runtime", Got: "no npm on the PATH",
			Want: "npm, to download " + release.Package, Remedy: "install npm, " + ownLibrary, Err: err}
	}
	cmd := exec.CommandContext(ctx, npm, "pack", release.Package, "--ignore-scripts", "--loglevel=error", "--pack-destination", ".")
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", &fault.Error{Kind: fault.Interrupted, Where: "npm pack " + release.Package, Err: ctx.Err()}
		}
		return "", &fault.Error{Kind: fault.Runtime, Where: "npm pack " + release.Package, Err: err,
			Remedy: "check the network and npm's registry setting, " + ownLibrary}
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(found) != 1 {
		return "", &fault.Error{Kind: fault.Runtime, Where: "npm pack " + release.Package,
			Got: fmt.Sprintf("%d archives", len(found)), Want: "1"}
	}
	return found[0], nil
}
