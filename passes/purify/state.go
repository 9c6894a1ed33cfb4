package purify

import (
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"nuwa/internal/fault"
)

// state is everything that learning goes on from. The order of images follows
// from the seed and the step, so no generator is part of it.
type state struct {
	Digest  string // of model, images and options
	Step    int    // steps taken
	Judged  int    // step of the last judgement
	Worse   int    // judgements since accuracy last rose
	Gates   []*gate
	Loss    float64 // running mean
	Base    Score   // with all neurons
	Last    Score   // of the last judgement
	Best    best
	Elapsed time.Duration
}

// best is the mask to keep.
type best struct {
	Step  int
	Score Score
	Keep  [][]int
}

// identity identifies what is being learned: the gradient graph with its
// weights, the images and the options that the result depends on.
func (l *learner) identity() string {
	h := sha256.New()
	o := l.options
	fmt.Fprintln(h, l.network.digest, o.Wanted, o.Loss, o.Balance, o.Steps, o.Batch, o.Every, o.Patience, o.Seed, o.Rate, o.BetaRate, o.Decay)
	for _, im := range []Images{o.Train, o.Validate} {
		fmt.Fprintln(h, im.Labels, im.Several)
		for i := range im.len() {
			h.Write(im.Batch([]int{i}).Data)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// loadState reads a checkpoint. It returns nil where there is none, and an
// error where it is of something else.
func loadState(path, digest string) (*state, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &fault.Error{Kind: fault.IO, File: path, Err: err}
	}
	defer f.Close()
	var s state
	if err := gob.NewDecoder(f).Decode(&s); err != nil {
		return nil, &fault.Error{Kind: fault.IO, File: path, Got: "a file that is no checkpoint of a purification", Err: err,
			Remedy: "delete it to begin anew, or name another file"}
	}
	if s.Digest != digest {
		return nil, &fault.Error{Kind: fault.Exists, File: path, Got: "the checkpoint of another model, other images or other options",
			Want: "one of this purification", Remedy: "delete it to begin anew, or name another file"}
	}
	return &s, nil
}

// write replaces the file at path.
func (s *state) write(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*.tmp")
	if err != nil {
		return &fault.Error{Kind: fault.IO, File: path, Err: err, Remedy: "check that the folder exists and can be written"}
	}
	defer os.Remove(f.Name())
	err = errors.Join(gob.NewEncoder(f).Encode(s), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return &fault.Error{Kind: fault.IO, File: path, Err: err}
	}
	return nil
}
