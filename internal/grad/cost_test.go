//go:build linux

package grad_test

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/grad"
	"nuwa/internal/ort"
)

var (
	cost    = flag.String("cost", "", "measure gradients against forward passes on these models, separated by commas; takes minutes")
	batch   = flag.Int("cost.batch", 32, "images in a batch")
	rounds  = flag.Int("cost.rounds", 9, "how often each graph is run")
	threads = flag.Int("cost.threads", 1, "threads, 0 for all")
	profile = flag.Bool("cost.profile", false, "also print the time that each operator takes")
	one     = flag.String("cost.one", "", "run this graph and report its memory; used by the test itself")
)

// usage is what a run of one graph in a process of its own took.
type usage struct {
	Before, Peak int // MiB: resident before the graph was loaded, and at most
}

// TestCost measures what a gradient with respect to a mask on every hidden
// layer costs: time as a multiple of a forward pass of the same batch, both in
// turns in one process, and memory, each in a process of its own. Processor
// time says more than the clock where other programs run, and less where there
// are several threads.
func TestCost(t *testing.T) {
	if *one != "" {
		alone(t)
		return
	}
	if *cost == "" {
		t.Skip("a measurement: run it with -cost MODEL,MODEL")
	}
	var table strings.Builder
	fmt.Fprintf(&table, "\n%-14s %-8s %10s %8s %8s %6s %10s %10s %8s %8s\n", "model", "graph", "median ms", "× clock", "× cpu", "nodes", "peak MiB", "own MiB", "× peak", "× own")
	for _, path := range strings.Split(*cost, ",") {
		dir := t.TempDir()
		plain := clean(t, path)
		s := prepare(t, plain.Clone(), *batch, false)
		weights := 0
		for _, v := range plain.Graph.Consts() {
			weights += len(v.Default().Data)
		}
		graphs := map[string]*graph.Model{"forward": plain}
		for name, keep := range map[string]bool{"gradient": false, "kept": true} {
			back, _, err := grad.Backward(s.m, s.loss.Value, s.masks, s.shapes, grad.Options{Keep: keep})
			if err != nil {
				t.Fatal(err)
			}
			graphs[name] = back
		}
		names := []string{"forward", "gradient", "kept"}
		clock, cpu := alternate(t, graphs, names)
		if *profile {
			for _, name := range names {
				t.Logf("%s\n%s", name, byOperator(t, graphs[name]))
			}
		}
		var base usage
		for _, name := range names {
			file := filepath.Join(dir, name+".onnx")
			data, err := exporter.Encode(graphs[name])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			u := measure(t, file)
			if name == "forward" {
				base = u
			}
			fmt.Fprintf(&table, "%-14s %-8s %10.1f %8.2f %8.2f %6d %10d %10d %8.2f %8.2f\n", strings.TrimSuffix(filepath.Base(path), ".onnx"), name,
				ms(median(clock[name])), ratio(clock[name], clock["forward"]), ratio(cpu[name], cpu["forward"]), len(graphs[name].Graph.Nodes()), u.Peak, u.Peak-u.Before,
				float64(u.Peak)/float64(base.Peak), float64(u.Peak-u.Before)/float64(base.Peak-base.Before))
		}
		fmt.Fprintf(&table, "%-14s weights %d MiB, batch %d, %d threads\n", "", weights>>20, *batch, ort.ThreadCount(*threads))
	}
	t.Log(table.String())
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// alternate runs the graphs in turns and returns the time that each run took by
// the clock and of the processor.
func alternate(t *testing.T, graphs map[string]*graph.Model, names []string) (clock, cpu map[string][]time.Duration) {
	t.Helper()
	sessions := map[string]*ort.Session{}
	feeds := map[string]map[string]*graph.Tensor{}
	for _, name := range names {
		var err error
		if sessions[name], err = (&engine.Engine{Threads: *threads}).Open(graphs[name]); err != nil {
			t.Fatal(err)
		}
		defer sessions[name].Close()
		if feeds[name], err = engine.Inputs(graphs[name], *batch, 1); err != nil {
			t.Fatal(err)
		}
	}
	clock, cpu = map[string][]time.Duration{}, map[string][]time.Duration{}
	for round := range *rounds + 1 {
		for _, name := range names {
			began, used := time.Now(), processor(t)
			if _, err := sessions[name].Run(context.Background(), feeds[name], nil); err != nil {
				t.Fatal(err)
			}
			if round > 0 { // the first run sets up memory
				clock[name] = append(clock[name], time.Since(began))
				cpu[name] = append(cpu[name], processor(t)-used)
			}
		}
	}
	return clock, cpu
}

// byOperator lists the operators of a graph as ONNX Runtime runs it, the most
// expensive first, with their number and their part of the time.
func byOperator(t *testing.T, m *graph.Model) string {
	t.Helper()
	data, err := exporter.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ort.NewSession(data, ort.Options{Threads: *threads, Profile: true})
	if err != nil {
		t.Fatal(err)
	}
	feeds, err := engine.Inputs(m, *batch, 1)
	if err != nil {
		t.Fatal(err)
	}
	for range *rounds {
		if _, err := s.Run(context.Background(), feeds, nil); err != nil {
			t.Fatal(err)
		}
	}
	times, err := s.Profile()
	if err != nil {
		t.Fatal(err)
	}
	nodes, spent, total := map[string]int{}, map[string]time.Duration{}, time.Duration(0)
	for _, n := range times {
		nodes[n.Op]++
		spent[n.Op] += n.Total
		total += n.Total
	}
	ops := slices.SortedFunc(maps.Keys(spent), func(a, b string) int { return cmp.Compare(spent[b], spent[a]) })
	var b strings.Builder
	for _, op := range ops {
		fmt.Fprintf(&b, "%-28s %5d nodes %10.2f ms %6.1f %%\n", op, nodes[op], ms(spent[op])/float64(*rounds), 100*float64(spent[op])/float64(total))
	}
	return b.String()
}

// processor is the processor time that this process has used.
func processor(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func median(ds []time.Duration) time.Duration {
	ds = slices.Sorted(slices.Values(ds))
	return ds[len(ds)/2]
}

// ratio is the median of the quotients round by round.
func ratio(a, b []time.Duration) float64 {
	qs := make([]float64, len(a))
	for i := range a {
		qs[i] = float64(a[i]) / float64(b[i])
	}
	slices.Sort(qs)
	return qs[len(qs)/2]
}

// measure runs a graph in a process of its own.
func measure(t *testing.T, file string) (u usage) {
	t.Helper()
	out, err := exec.Command(os.Args[0], "-test.run=TestCost", "-test.v", "-cost.one="+file, "-cost.batch="+strconv.Itoa(*batch), "-cost.threads="+strconv.Itoa(*threads)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if at := strings.Index(line, `{"Before"`); at >= 0 {
			if err := json.Unmarshal([]byte(line[at:]), &u); err != nil {
				t.Fatal(err)
			}
		}
	}
	return u
}

// alone is the other side of measure.
func alone(t *testing.T) {
	if _, err := ort.Load(""); err != nil {
		t.Fatal(err)
	}
	before := resident(t, "VmRSS:")
	s, err := ort.NewSessionFile(*one, ort.Options{Threads: *threads})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := graph.NewModel(graph.Opset{Version: 17})
	for _, in := range s.Inputs() {
		dims := make([]graph.Dim, len(in.Dims))
		for i, d := range in.Dims {
			if d >= 0 {
				dims[i] = graph.Fixed(d)
			}
		}
		m.Graph.AddInput(in.Name, graph.TensorType(in.Type, dims...))
	}
	feeds, err := engine.Inputs(m, *batch, 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := s.Run(context.Background(), feeds, nil); err != nil {
			t.Fatal(err)
		}
	}
	out, err := json.Marshal(usage{before, resident(t, "VmHWM:")})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(out))
}

// resident reads a figure of the process's memory, in MiB.
func resident(t *testing.T, key string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == key {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return kib >> 10
		}
	}
	t.Fatalf("no %s", key)
	return 0
}
