package ort

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nuwa/graph"
	"nuwa/internal/fault"
)

// tower is x·w·w·…·w with n products of d×d matrices; w is an input.
func tower(n int, d int64) testModel {
	m := testModel{inputs: []Info{vec("x", graph.Float32, d, d), vec("w", graph.Float32, d, d)}, outputs: []Info{vec(fmt.Sprint("h", n), graph.Float32, d, d)}}
	last := "x"
	for i := range n {
		next := fmt.Sprint("h", i+1)
		m.nodes = append(m.nodes, testNode{op: "MatMul", name: fmt.Sprint("mm", i), in: []string{last, "w"}, out: []string{next}})
		last = next
	}
	return m
}

func matrices(d int64) map[string]*graph.Tensor {
	zero := graph.NewTensor([]int64{d, d}, make([]float32, d*d))
	return map[string]*graph.Tensor{"x": zero, "w": zero}
}

func TestRunStopsWhenCancelled(t *testing.T) {
	s := mustOpen(t, tower(3000, 384)) // several seconds of work
	ctx, cancel := context.WithCancel(t.Context())
	timer := time.AfterFunc(50*time.Millisecond, cancel)
	defer timer.Stop()
	start := time.Now()
	_, err := s.Run(ctx, matrices(384), nil)
	if !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Interrupted {
		t.Fatalf("after %v: %v, want an interruption", time.Since(start), err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("stopped after %v", took)
	}
	if _, err := s.Run(ctx, matrices(384), nil); fault.KindOf(err) != fault.Interrupted {
		t.Errorf("a context that ended before the run: %v", err)
	}
	short := mustOpen(t, identity(graph.Float32, 1))
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := short.Run(ctx, map[string]*graph.Tensor{"x": sample(graph.Float32, 1)}, nil); err != nil {
		t.Errorf("a context that does not end: %v", err)
	}
}

func TestSessionsRunConcurrently(t *testing.T) {
	m := identity(graph.Float32, -1)
	m.nodes[0].op = "Neg"
	shared := mustOpen(t, m)
	half := identity(graph.Float16, -1) // has to ask for shapes
	sharedHalf := mustOpen(t, half)
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			own, err := NewSession(m.bytes(), Options{Threads: 1})
			if err != nil {
				t.Error(err)
				return
			}
			defer own.Close()
			for i := range 40 {
				x := graph.NewTensor([]int64{int64(g + 1)}, make([]float32, g+1))
				for _, s := range []*Session{shared, own} {
					out, err := s.Run(t.Context(), map[string]*graph.Tensor{"x": x}, nil)
					if err != nil || out["y"].Len() != int64(g+1) {
						t.Errorf("run %d: %v, %v", i, out, err)
						return
					}
				}
				h := sample(graph.Float16, int64(g+1))
				if out, err := sharedHalf.Run(t.Context(), map[string]*graph.Tensor{"x": h}, nil); err != nil || !equal(out["y"], h) {
					t.Errorf("run %d: %v, %v", i, out["y"], err)
					return
				}
				if i%10 == 0 {
					runtime.GC()
				}
			}
		})
	}
	wait.Wait()
}

func TestClosedSession(t *testing.T) {
	s := mustOpen(t, identity(graph.Float32, 1))
	in := map[string]*graph.Tensor{"x": sample(graph.Float32, 1)}
	c, err := s.Bind(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := errors.Join(s.Close(), c.Close()); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Run(t.Context(), in, nil); !errors.Is(err, errClosed) {
		t.Errorf("run: %v", err)
	}
	if _, err := s.Bind(t.Context(), in); !errors.Is(err, errClosed) {
		t.Errorf("bind: %v", err)
	}
	if err := c.Run(); !errors.Is(err, errClosed) {
		t.Errorf("call: %v", err)
	}
	if _, err := s.Profile(); fault.KindOf(err) != fault.Usage {
		t.Errorf("profile: %v", err)
	}
}

func TestOptions(t *testing.T) {
	in := map[string]*graph.Tensor{"x": sample(graph.Float32, 3)}
	for _, o := range []Options{{Threads: 1}, {Threads: 3}, {Optimize: Extended}, {Optimize: Basic}, {Optimize: None}, {LowMemory: true}, {Providers: []Provider{CPU}}} {
		s, err := NewSession(identity(graph.Float32, 3).bytes(), o)
		if err != nil {
			t.Errorf("%+v: %v", o, err)
			continue
		}
		if out, err := s.Run(t.Context(), in, nil); err != nil || !equal(out["y"], in["x"]) {
			t.Errorf("%+v: %v, %v", o, out["y"], err)
		}
		s.Close()
	}
	for want, o := range map[string]Options{
		"threads: got -1":            {Threads: -1},
		"optimization level: got 9":  {Optimize: 9},
		"execution provider Abacus:": {Providers: []Provider{"Abacus"}},
	} {
		if _, err := NewSession(identity(graph.Float32, 3).bytes(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", o, err, want)
		}
	}
	if ThreadCount(0) != runtime.GOMAXPROCS(0) || ThreadCount(5) != 5 {
		t.Error(ThreadCount(0), ThreadCount(5))
	}
}

// Unoptimized, the Identity remains; optimized, it is gone. The profile shows which
// nodes ran.
func TestProfile(t *testing.T) {
	m := tower(3, 8)
	m.nodes = append(m.nodes, testNode{op: "Identity", name: "keep", in: []string{"h3"}, out: []string{"h4"}},
		testNode{op: "Relu", name: "act", in: []string{"h4"}, out: []string{"y"}})
	m.outputs = []Info{vec("y", graph.Float32, 8, 8)}
	count := func(level Level) (ops map[string]int) {
		s, err := NewSession(m.bytes(), Options{Profile: true, Optimize: level})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for range 5 {
			if _, err := s.Run(t.Context(), matrices(8), nil); err != nil {
				t.Fatal(err)
			}
		}
		times, err := s.Profile()
		if err != nil {
			t.Fatal(err)
		}
		ops = make(map[string]int)
		for _, n := range times {
			ops[n.Op]++
			if n.Runs != 5 || n.Total < 0 || n.Provider != "CPU" || n.Name == "" {
				t.Errorf("%+v, want 5 runs on the CPU", n)
			}
		}
		if _, err := os.Stat(s.native.profileDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the profile's folder is still there: %v", err)
		}
		if _, err := s.Profile(); !errors.Is(err, errClosed) {
			t.Errorf("a second profile: %v", err)
		}
		return ops
	}
	if ops := count(None); ops["MatMul"] != 3 || ops["Identity"] != 1 || ops["Relu"] != 1 {
		t.Errorf("unoptimized: %v", ops)
	}
	if ops := count(All); ops["MatMul"] != 3 || ops["Identity"] != 0 || ops["Relu"] != 1 {
		t.Errorf("optimized: %v", ops)
	}
}

func TestCallRepeats(t *testing.T) {
	m := identity(graph.Float32, -1)
	m.nodes[0].op = "Neg"
	s := mustOpen(t, m)
	c, err := s.Bind(t.Context(), map[string]*graph.Tensor{"x": graph.NewTensor([]int64{2}, []float32{1, 2})})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if out, err := c.Outputs(); err != nil || len(out) != 0 {
		t.Errorf("before a run: %v, %v", out, err)
	}
	var first *graph.Tensor
	for range 3 {
		if err := c.Run(); err != nil {
			t.Fatal(err)
		}
		out, err := c.Outputs()
		if err != nil || !equal(out["y"], graph.NewTensor([]int64{2}, []float32{-1, -2})) {
			t.Fatalf("got %v, %v", out["y"], err)
		}
		if first == nil {
			first = out["y"]
		} else if &first.Data[0] != &out["y"].Data[0] {
			t.Error("the output moved")
		}
	}
}

// Results must not change when inputs, sessions or later runs go away.
func TestResultsStandAlone(t *testing.T) {
	for _, typ := range []graph.DType{graph.Float32, graph.Float16, graph.String} {
		s, err := NewSession(identity(typ, -1).bytes(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		x, want := sample(typ, 2000), sample(typ, 2000)
		out, err := s.Run(t.Context(), map[string]*graph.Tensor{"x": x}, nil)
		if err != nil {
			t.Fatal(err)
		}
		clear(x.Data)
		clear(x.Strings)
		if _, err := s.Run(t.Context(), map[string]*graph.Tensor{"x": sample(typ, 2000)}, nil); err != nil {
			t.Fatal(err)
		}
		s.Close()
		runtime.GC()
		if !equal(out["y"], want) {
			t.Errorf("%s: the result changed", typ)
		}
	}
}

// Weights and images may lie in a mapped file, at any offset.
func TestRunReadsMappedMemory(t *testing.T) {
	path := t.TempDir() + "/data"
	want := sample(graph.Float32, 4000)
	if err := os.WriteFile(path, append([]byte("odd"), want.Data...), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mem, err := syscall.Mmap(int(f.Fd()), 0, 3+len(want.Data), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		t.Skip("no memory mapping:", err)
	}
	defer syscall.Munmap(mem)
	for _, data := range [][]byte{mem[3:], mem[:len(want.Data)]} {
		x := &graph.Tensor{Type: graph.Float32, Dims: []int64{4000}, Data: data}
		out, err := mustOpen(t, identity(graph.Float32, -1)).Run(t.Context(), map[string]*graph.Tensor{"x": x}, nil)
		if err != nil || !equal(out["y"], x) {
			t.Errorf("%v", err)
		}
	}
}

// A leak of the output alone would be 2 GB here.
func TestNoLeak(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	rss := func() int64 {
		runtime.GC()
		text, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Skip(err)
		}
		pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return pages * int64(os.Getpagesize()) >> 20
	}
	const n, megabyte = 1000, 1 << 20
	for _, typ := range []graph.DType{graph.Float32, graph.Float16} {
		s := mustOpen(t, identity(typ, -1))
		in := map[string]*graph.Tensor{"x": sample(typ, megabyte/int64(typ.Bits()/8))}
		before := rss()
		for range n {
			if _, err := s.Run(t.Context(), in, nil); err != nil {
				t.Fatal(err)
			}
		}
		if grown := rss() - before; grown > 200 {
			t.Errorf("%s: %d runs grew the process by %d MB", typ, n, grown)
		}
	}
	before := rss()
	for i := range 300 { // the sessions of the second half are left to the collector
		w := sample(graph.Float32, 1<<18)
		w.Name = "w"
		s, err := NewSession(testModel{nodes: []testNode{{op: "Add", in: []string{"x", "w"}, out: []string{"y"}}}, inits: []*graph.Tensor{w},
			inputs: []Info{vec("x", graph.Float32, 1<<18)}, outputs: []Info{vec("y", graph.Float32, 1<<18)}}.bytes(), Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		if i < 150 {
			s.Close()
		} else if i%10 == 0 {
			runtime.GC()
		}
	}
	if grown := rss() - before; grown > 100 {
		t.Errorf("300 sessions of 1 MB grew the process by %d MB", grown)
	}
}
