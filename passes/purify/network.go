package purify

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/grad"
	"nuwa/internal/ort"
	"nuwa/passes/structure"
)

// judgeBatch is how many images are judged at a time, at least: more would be
// no faster on a CPU, and take more memory than a step of a small batch.
const judgeBatch = 16

// keepBatch is the largest batch whose activations are held rather than
// computed again: from the next on they weigh more than all else on a model of
// DeiT-S's size.
const keepBatch = 1

// network is the model with a mask on each hidden layer, in ONNX Runtime twice:
// forward to the logits, and to the gradients of the loss.
type network struct {
	sites    []*structure.MLP
	forward  *ort.Session
	backward *ort.Session
	digest   [32]byte // of backward, where there is a checkpoint file

	image   string   // input of images
	masks   []string // mask inputs, one per site
	grads   []string // outputs with their gradients
	loss    grad.Loss
	logits  string
	fixed   int // images that the model takes at once; 0 for any number
	elem    graph.DType
	options Options
	label   map[int]int // logit → label that the loss takes, where images have one class each
	weight  map[int]float64
	targets *targets // where images may have several classes
}

// sites returns the hidden layers that can be purified.
func sites(vit *structure.ViT) []*structure.MLP {
	return slices.DeleteFunc(slices.Clone(vit.MLPs), func(s *structure.MLP) bool { return s.Reason != "" })
}

// newNetwork builds both graphs. With perImage every image of a batch has
// masks and gradients of its own, and losses are added up.
func newNetwork(ctx context.Context, eng *engine.Engine, m *graph.Model, vit *structure.ViT, o Options, perImage bool) (*network, error) {
	feeds := engine.Feeds(m)
	n := &network{sites: sites(vit), options: o, fixed: engine.FixedBatch(m)}
	switch {
	case len(n.sites) == 0:
		return nil, &fault.Error{Kind: fault.Unsupported, Where: "purification", Got: "no hidden layer that neurons can be removed from", Want: "at least one"}
	case len(vit.Classifiers) == 0:
		return nil, &fault.Error{Kind: fault.Unsupported, Where: "purification", Got: "a model without a classifier that was understood", Want: "a linear map to one logit per class before the output"}
	case len(feeds) != 1:
		return nil, &fault.Error{Kind: fault.Unsupported, Where: "purification", Got: fmt.Sprintf("%d inputs", len(feeds)), Want: "one input that takes images"}
	}
	n.image, n.logits = feeds[0].Name(), vit.Classifiers[0].Output.Name()
	n.relabel()

	masked, err := n.mask(m, vit, perImage)
	if err != nil {
		return nil, err
	}
	plain, err := engine.Tap(masked, n.logits)
	if err != nil {
		return nil, err
	}
	if err := n.differentiate(ctx, eng, masked, vit, perImage); err != nil {
		return nil, err
	}
	if !perImage {
		if n.forward, err = eng.Open(plain); err != nil {
			n.close()
			return nil, err
		}
	}
	return n, nil
}

// mask returns a copy of m with a mask on each site.
func (n *network) mask(m *graph.Model, vit *structure.ViT, perImage bool) (*graph.Model, error) {
	masked := m.Clone()
	for i, s := range n.sites {
		node := masked.Graph.Value(s.Second.Node.Output(0).Name()).Producer()
		name, err := grad.AddMask(masked, vit.Shapes, node, 0, grad.MaskOptions{Name: fmt.Sprintf("mask_%d", i), Axis: s.Second.Axis, PerImage: perImage})
		if err != nil {
			return nil, err
		}
		n.masks = append(n.masks, name)
		n.elem = masked.Graph.Value(name).Type.Elem
	}
	return masked, nil
}

// differentiate adds the loss to the masked model and opens the graph of its
// gradients.
func (n *network) differentiate(ctx context.Context, eng *engine.Engine, masked *graph.Model, vit *structure.ViT, perImage bool) error {
	opt := grad.LossOptions{Weighted: n.options.Balance, Sum: perImage, MultiHot: n.options.multi()}
	if n.options.Loss == Wanted {
		for _, c := range n.options.Wanted {
			opt.Classes = append(opt.Classes, int64(c))
		}
	}
	var err error
	if n.loss, err = grad.AddLoss(masked, vit.Shapes, n.logits, opt); err != nil {
		return err
	}
	if opt.MultiHot {
		dims, _ := masked.Graph.Value(n.loss.Labels).Type.Dims()
		n.targets = newTargets(n.options, int(dims[1]))
	}
	masked.Graph.ClearOutputs()
	masked.Graph.AddOutput(masked.Graph.Value(n.loss.Value))
	shapes, err := eng.Shapes(ctx, masked)
	if err != nil {
		return err
	}
	back, names, err := grad.Backward(masked, n.loss.Value, n.masks, shapes, grad.Options{Keep: n.options.Batch <= keepBatch})
	if err != nil {
		return err
	}
	for _, name := range n.masks {
		n.grads = append(n.grads, names[name])
	}
	if n.options.Checkpoint != "" {
		data, err := exporter.Encode(back)
		if err != nil {
			return err
		}
		n.digest = sha256.Sum256(data)
	}
	n.backward, err = eng.Open(back)
	return err
}

func (n *network) close() {
	for _, s := range []*ort.Session{n.forward, n.backward} {
		if s != nil {
			s.Close()
		}
	}
}

// relabel numbers the classes as the loss does, and weighs them.
func (n *network) relabel() {
	n.label, n.weight = map[int]int{}, map[int]float64{}
	for _, l := range n.options.Train.Labels {
		n.label[l] = l
		n.weight[l]++
	}
	if n.options.Loss == Wanted {
		for i, l := range n.options.Wanted {
			n.label[l] = i
		}
	}
	for l, count := range n.weight {
		n.weight[l] = float64(len(n.options.Train.Labels)) / (float64(len(n.weight)) * count)
	}
}

// gradient returns the loss of the training images at idx and its gradient
// with respect to the masks, one row per site.
func (n *network) gradient(ctx context.Context, idx []int, masks []*graph.Tensor) (float64, [][]float64, error) {
	feed := map[string]*graph.Tensor{n.image: n.options.Train.Batch(idx)}
	if err := n.teach(feed, idx); err != nil {
		return 0, nil, err
	}
	for i, name := range n.masks {
		feed[name] = masks[i]
	}
	out, err := n.backward.Run(ctx, feed, nil)
	if err != nil {
		return 0, nil, err
	}
	if err := engine.CheckFinite(out, append(slices.Clone(n.grads), n.loss.Value)); err != nil {
		return 0, nil, err
	}
	loss, err := out[n.loss.Value].Floats()
	if err != nil {
		return 0, nil, err
	}
	rows := make([][]float64, len(n.grads))
	for i, name := range n.grads {
		if rows[i], err = out[name].Floats(); err != nil {
			return 0, nil, err
		}
	}
	return loss[0], rows, nil
}

// tensors makes mask inputs of the neurons kept at each site; nil keeps all.
func (n *network) tensors(keep [][]int) ([]*graph.Tensor, error) {
	out := make([]*graph.Tensor, len(n.sites))
	for i, s := range n.sites {
		xs := slices.Repeat([]float64{1}, s.Hidden)
		if keep != nil {
			xs = mask(s.Hidden, keep[i])
		}
		var err error
		if out[i], err = graph.FromFloats(n.elem, []int64{int64(s.Hidden)}, xs); err != nil {
			return nil, err
		}
	}
	return out, nil
}
