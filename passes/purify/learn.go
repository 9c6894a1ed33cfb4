package purify

import (
	"context"
	"math/rand/v2"
	"time"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/ranking"
	"nuwa/passes/structure"
)

// saveAfter is the longest time that a crash may cost.
const saveAfter = 15 * time.Second

// Learn finds out which hidden neurons of m to keep. vit must be what
// structure.Find finds in m, which is not changed. When ctx ends, the state is
// saved to o.Checkpoint and the error is of kind fault.Interrupted.
func Learn(ctx context.Context, eng *engine.Engine, m *graph.Model, vit *structure.ViT, o Options) (*Result, error) {
	o, err := o.withDefaults(engine.FixedBatch(m))
	if err != nil {
		return nil, err
	}
	if o.Method != STE {
		return oneShot(ctx, eng, m, vit, o)
	}
	began := time.Now()
	n, err := newNetwork(ctx, eng, m, vit, o, false)
	if err != nil {
		return nil, err
	}
	defer n.close()
	l := &learner{network: n, began: began}
	if err := l.start(ctx); err != nil {
		return nil, l.interrupted(ctx, err)
	}
	stopped, err := l.run(ctx)
	if err != nil {
		return nil, l.interrupted(ctx, err)
	}
	return l.result(vit, stopped), nil
}

// learner is one run of the straight-through method.
type learner struct {
	*network
	state *state
	began time.Time     // of this process's part
	saved time.Time     // when the state was last written
	prior time.Duration // what earlier parts took
}

// start takes the state from the checkpoint file, or begins anew.
func (l *learner) start(ctx context.Context) error {
	digest := ""
	if l.options.Checkpoint != "" {
		digest = l.identity()
		s, err := loadState(l.options.Checkpoint, digest)
		if err != nil {
			return err
		}
		if s != nil {
			l.state, l.prior, l.saved = s, s.Elapsed, time.Now()
			return nil
		}
	}
	base, err := l.judge(ctx, nil)
	if err != nil {
		return err
	}
	s := &state{Digest: digest, Base: base, Best: best{Score: base}}
	for _, site := range l.sites {
		s.Gates = append(s.Gates, newGate(site.Hidden))
		s.Best.Keep = append(s.Best.Keep, ranking.UpTo(site.Hidden))
	}
	l.state = s
	return l.save()
}

// Why learning ended.
const (
	bySteps    = "all steps were taken"
	byTime     = "the time was over"
	byPatience = "no better mask was found any more"
)

// run takes steps, and judges the mask now and then, until a budget ends.
func (l *learner) run(ctx context.Context) (stopped string, err error) {
	s, o := l.state, l.options
	for {
		switch {
		case s.Step >= o.Steps:
			stopped = bySteps
		case o.Time > 0 && l.elapsed() >= o.Time:
			stopped = byTime
		}
		if s.Judged < s.Step && (stopped != "" || s.Step%o.Every == 0) {
			if err := l.consider(ctx); err != nil {
				return "", err
			}
		}
		if o.Patience > 0 && s.Worse >= o.Patience {
			stopped = byPatience
		}
		if stopped != "" {
			return stopped, l.save()
		}
		if err := l.step(ctx); err != nil {
			return "", err
		}
		if time.Since(l.saved) > saveAfter {
			if err := l.save(); err != nil {
				return "", err
			}
		}
		o.Progress(l.progress())
	}
}

// step learns from one batch.
func (l *learner) step(ctx context.Context) error {
	s := l.state
	keep := s.keep()
	masks, err := l.tensors(keep)
	if err != nil {
		return err
	}
	loss, grads, err := l.gradient(ctx, l.order(s.Step), masks)
	if err != nil {
		return err
	}
	for i, g := range s.Gates {
		g.learn(grads[i], keep[i], s.Step+1, l.options)
	}
	if s.Step == 0 {
		s.Loss = loss
	}
	s.Loss += (loss - s.Loss) / float64(min(s.Step+1, 100))
	s.Step++
	return nil
}

// order returns the training images of a step. Every epoch has an order of its
// own that the seed decides, so that a step depends on nothing before it.
func (l *learner) order(step int) []int {
	n, b := l.options.Train.len(), l.options.Batch
	idx := make([]int, b)
	epoch, order := -1, []int(nil)
	for i := range idx {
		at := step*b + i
		if at/n != epoch {
			epoch = at / n
			order = rand.New(rand.NewPCG(l.options.Seed, uint64(epoch))).Perm(n)
		}
		idx[i] = order[at%n]
	}
	return idx
}

// consider judges the mask as it is now and keeps it if it is the best.
func (l *learner) consider(ctx context.Context) error {
	s := l.state
	keep := s.keep()
	score, err := l.judge(ctx, keep)
	if err != nil {
		return err
	}
	s.Judged, s.Last = s.Step, score
	s.Worse++
	now, top := score.of(l.options.Loss), s.Best.Score.of(l.options.Loss)
	if now > top {
		s.Worse = 0
	}
	if now > top || now == top && size(keep) < size(s.Best.Keep) {
		s.Best = best{Step: s.Step, Score: score, Keep: keep}
	}
	return l.save()
}

// size returns how many neurons are kept in all.
func size(keep [][]int) (n int) {
	for _, k := range keep {
		n += len(k)
	}
	return n
}

func (l *learner) elapsed() time.Duration { return l.prior + time.Since(l.began) }

func (l *learner) save() error {
	l.saved = time.Now()
	if l.options.Checkpoint == "" {
		return nil
	}
	l.state.Elapsed = l.elapsed()
	return l.state.write(l.options.Checkpoint)
}

func (l *learner) progress() Progress {
	s, o := l.state, l.options
	spent := l.elapsed()
	left := time.Duration(float64(spent) / float64(s.Step) * float64(o.Steps-s.Step))
	if o.Time > 0 {
		left = min(left, max(0, o.Time-spent))
	}
	p := Progress{Step: s.Step, Steps: o.Steps, Loss: s.Loss, Accuracy: s.Last.of(o.Loss), Best: s.Best.Score.of(o.Loss), Left: left}
	for _, g := range s.Gates {
		p.Kept = append(p.Kept, g.count())
	}
	return p
}

// interrupted saves the state when ctx has ended, and says how to go on.
func (l *learner) interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	e := &fault.Error{Kind: fault.Interrupted, File: l.options.Checkpoint, Where: "purification", Err: context.Cause(ctx)}
	if l.options.Checkpoint != "" && l.state != nil {
		if err := l.save(); err != nil {
			return err
		}
		e.Remedy = "the same command goes on from where this one stopped"
	}
	return e
}

// keep returns the neurons kept at each site now.
func (s *state) keep() [][]int {
	out := make([][]int, len(s.Gates))
	for i, g := range s.Gates {
		out[i] = g.keep()
	}
	return out
}
