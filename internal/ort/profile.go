package ort

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nuwa/internal/fault"
)

// NodeTime is the time that one node of the optimized graph took, over all
// runs of a session. Fused nodes carry the names ONNX Runtime gave them.
type NodeTime struct {
	Name     string        `json:"name"`
	Op       string        `json:"op"`
	Provider string        `json:"provider"`
	Runs     int           `json:"runs"`
	Total    time.Duration `json:"total_ns"`
	Best     time.Duration `json:"best_ns"` // of the fastest run
}

// event is one entry of ONNX Runtime's profile, which is a JSON array in the
// trace-event format; dur is in microseconds.
type event struct {
	Cat  string `json:"cat"`
	Name string `json:"name"`
	Dur  int64  `json:"dur"`
	Args struct {
		Op       string `json:"op_name"`
		Provider string `json:"provider"`
	} `json:"args"`
}

const kernelTime = "_kernel_time"

// Profile closes the session and returns the time of each node, in the order
// of their first run. The session must have been made with Options.Profile.
func (s *Session) Profile() ([]NodeTime, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.opt.Profile {
		return nil, &fault.Error{Kind: fault.Usage, File: s.opt.Name, Where: "profile", Got: "a session without Options.Profile"}
	}
	if s.closed {
		return nil, &fault.Error{Kind: fault.Runtime, File: s.opt.Name, Where: "profile", Err: errClosed}
	}
	s.closed = true
	s.clean.Stop()
	defer s.native.release()
	_ = s.native.session.Destroy() // cannot fail; it writes the profile
	s.native.session = nil
	times, err := readProfile(s.native.profileDir)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Runtime, File: s.opt.Name, Where: "profile", Err: err}
	}
	return times, nil
}

func readProfile(dir string) ([]NodeTime, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("ONNX Runtime wrote %d profiles, want 1", len(found))
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		return nil, err
	}
	var events []event
	if err := json.Unmarshal(text, &events); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(found[0]), err)
	}
	var times []NodeTime
	at := make(map[string]int)
	for _, e := range events {
		name, ok := strings.CutSuffix(e.Name, kernelTime)
		if e.Cat != "Node" || !ok {
			continue
		}
		i, seen := at[name]
		if !seen {
			i = len(times)
			at[name] = i
			provider := strings.TrimSuffix(e.Args.Provider, "ExecutionProvider")
			times = append(times, NodeTime{Name: name, Op: e.Args.Op, Provider: provider})
		}
		took := time.Duration(e.Dur) * time.Microsecond
		if times[i].Runs == 0 || took < times[i].Best {
			times[i].Best = took
		}
		times[i].Runs++
		times[i].Total += took
	}
	return times, nil
}
