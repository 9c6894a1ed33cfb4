package grid

import (
	"bufio"
	"encoding/json"
	"os"
	"time"

	"nuwa/internal/fault"
)

// Outcome is what became of a cell.
type Outcome struct {
	Key    string  `json:"key"` // of everything that it depends on
	Model  string  `json:"model"`
	Task   string  `json:"task"`
	Recipe string  `json:"recipe"`
	Seed   uint64  `json:"seed"`
	Asked  float64 `json:"asked"`

	Unreachable string  `json:"unreachable,omitempty"` // why there is no such model
	Rate        float64 `json:"rate"`                  // 1 − MACs/MACs of the base
	MACs        int64   `json:"macs"`
	Params      int64   `json:"params"`

	Right, BaseRight string  // a 1 for each test image that slim and base decide right among the wanted classes, a 0 for any other
	Validation       float64 `json:"validation"` // accuracy on images of the training set beside those for calibration; 0 without
	BaseValidation   float64 `json:"base_validation"`

	Latency, BaseLatency time.Duration // medians at batch 1; 0 where not measured
	Learn                float64       `json:"learn_s"` // seconds that the task took before rates, shared by all of them
	Seconds              float64       `json:"seconds"` // that this rate took
}

// Log keeps outcomes in a file, one a line, as they come.
type Log struct {
	Outcomes []Outcome
	at       map[string]int
	file     *os.File
}

// OpenLog opens or makes a log. A last line that was cut off is left out.
func OpenLog(path string) (*Log, error) {
	bad := func(err error) error { return &fault.Error{Kind: fault.IO, File: path, Err: err} }
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, bad(err)
	}
	l := &Log{at: map[string]int{}, file: f}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var o Outcome
		if json.Unmarshal(lines.Bytes(), &o) == nil {
			l.keep(o)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, bad(err)
	}
	return l, nil
}

func (l *Log) keep(o Outcome) {
	if i, ok := l.at[o.Key]; ok {
		l.Outcomes[i] = o
		return
	}
	l.at[o.Key] = len(l.Outcomes)
	l.Outcomes = append(l.Outcomes, o)
}

// Find returns the outcome with that key.
func (l *Log) Find(key string) (o Outcome, ok bool) {
	i, ok := l.at[key]
	if ok {
		o = l.Outcomes[i]
	}
	return o, ok
}

// Add keeps an outcome.
func (l *Log) Add(o Outcome) error {
	line, err := json.Marshal(o)
	if err == nil {
		_, err = l.file.Write(append(append([]byte("\n"), line...), '\n'))
	}
	if err != nil {
		return &fault.Error{Kind: fault.IO, File: l.file.Name(), Err: err}
	}
	l.keep(o)
	return nil
}

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }
