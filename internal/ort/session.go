package ort

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"nuwa/graph"
	"nuwa/internal/fault"
)

// Session is a model loaded into ONNX Runtime. Its methods may be called from
// several goroutines; Close waits for runs that are under way.
type Session struct {
	opt     Options
	inputs  []Info
	outputs []Info
	feeds   []Info // what a run passes in: inputs, or one that nothing reads where there are none
	fetches []Info // what a run gets back: the tensors among outputs that are no inputs
	model   []byte // kept only where output shapes may have to be asked for

	mu     sync.RWMutex // held for writing by Close
	closed bool
	native *native
	clean  runtime.Cleanup

	shapesMu sync.Mutex
	shapes   map[string][][]int64 // shapes of fetches by the shapes of the feeds
}

// native is what a session holds outside Go's memory.
type native struct {
	session    *ort.DynamicAdvancedSession
	probe      *ort.DynamicAdvancedSession // tells output shapes; nil until needed
	profileDir string
	drop       func() // releases the mapped model file; nil if there is none
}

func (n *native) release() {
	for _, s := range []*ort.DynamicAdvancedSession{n.session, n.probe} {
		if s != nil {
			_ = s.Destroy() // releasing cannot fail
		}
	}
	n.session, n.probe = nil, nil
	if n.drop != nil {
		n.drop()
		n.drop = nil
	}
	if n.profileDir != "" {
		_ = os.RemoveAll(n.profileDir) // a leftover in the temporary folder is no error of the run
	}
}

// nothing is the input that a model without any is given, since a run must pass
// something in.
const nothing = "nuwa:none"

// NewSessionFile loads the model at path. External data is looked for beside
// it unless opt.Dir says otherwise; errors call it path unless opt.Name does.
func NewSessionFile(path string, opt Options) (*Session, error) {
	if opt.Name == "" {
		opt.Name = path
	}
	if opt.Dir == "" {
		opt.Dir = filepath.Dir(path)
	}
	model, drop, err := contents(path, opt.Name)
	if err != nil {
		return nil, err
	}
	s, err := NewSession(model, opt)
	if err != nil || s.model == nil {
		drop() // ONNX Runtime has its own copy
	} else {
		s.native.drop = drop
	}
	return s, err
}

// NewSession loads a serialized ModelProto. It loads ONNX Runtime from the
// default places when Load was not called before. The model must not be
// changed while the session lives. The session must be closed.
//
// Bytes that are no ONNX model are a fault.Model; a model that ONNX Runtime
// refuses is a fault.Runtime that names the node it blames.
func NewSession(model []byte, opt Options) (*Session, error) {
	if _, err := Load(""); err != nil {
		return nil, err
	}
	sig, err := readSignature(model)
	if err != nil {
		return nil, opt.unreadable(model, err)
	}
	s := &Session{opt: opt, outputs: sig.outputs, feeds: sig.inputs, native: &native{}}
	for _, in := range sig.inputs {
		if opt.Weights[in.Name] == nil {
			s.inputs = append(s.inputs, in)
		}
	}
	if len(s.feeds) == 0 {
		s.feeds = []Info{{Name: nothing, Kind: TensorKind, Type: graph.Float32, Dims: []int64{1}}}
		model = slices.Concat(model, unusedInput(nothing))
	}
	if err := opt.declare(model, s.outputs); err != nil {
		return nil, err
	}
	for _, o := range s.outputs {
		if o.Kind == TensorKind && position(s.feeds, o.Name) < 0 {
			s.fetches = append(s.fetches, o)
			if mustKnowShape(o) {
				s.model = model
			}
		}
	}
	if opt.Profile {
		if s.native.profileDir, err = os.MkdirTemp("", "nuwa-profile-*"); err != nil {
			return nil, &fault.Error{Kind: fault.IO, Where: "profile", Err: err, Remedy: "set TMPDIR to a folder that can be written"}
		}
	}
	s.native.session, err = opt.create(model, names(s.feeds), names(s.fetches), s.native.profileDir)
	if err != nil {
		s.native.release()
		return nil, err
	}
	s.clean = runtime.AddCleanup(s, (*native).release, s.native)
	return s, nil
}

func (o Options) create(model []byte, inputs, outputs []string, profileDir string) (*ort.DynamicAdvancedSession, error) {
	prefix := ""
	if profileDir != "" {
		prefix = filepath.Join(profileDir, "run")
	}
	so, err := o.session(prefix)
	if err != nil {
		return nil, err
	}
	defer func() { _ = so.Destroy() }()
	d, err := ort.NewDynamicAdvancedSessionWithONNXData(model, inputs, outputs, so)
	if err != nil {
		return nil, o.fail(err)
	}
	return d, nil
}

// declare fills in the types that the model leaves out of the given outputs, from
// what ONNX Runtime infers.
func (o Options) declare(model []byte, outputs []Info) error {
	if !slices.ContainsFunc(outputs, undeclared) {
		return nil
	}
	inferred, err := o.infer(model)
	if err != nil {
		return err
	}
	for i, out := range outputs {
		if x, ok := inferred[out.Name]; ok && undeclared(out) {
			outputs[i].Kind, outputs[i].Type = x.Kind, x.Type
		}
	}
	return nil
}

func undeclared(i Info) bool { return i.Kind == UnknownKind }

// infer returns the outputs of a model as ONNX Runtime sees them once it has
// loaded it, by name. Where a temporary file can be written, the model is not
// prepared to be run: the binding takes options for files only.
func (o Options) infer(model []byte) (map[string]Info, error) {
	path, err := temporary(model)
	defer func() { _ = os.Remove(path) }() // a leftover in the temporary folder is no error of the model
	if err != nil {
		_, outputs, err := ort.GetInputOutputInfoWithONNXData(model)
		return infos(outputs), o.fail(err)
	}
	so, err := Options{Name: o.Name, Dir: o.Dir, Threads: 1, Optimize: None, LowMemory: true}.session("")
	if err != nil {
		return nil, err
	}
	defer func() { _ = so.Destroy() }()
	_, outputs, err := ort.GetInputOutputInfoWithOptions(path, so)
	return infos(outputs), o.fail(err)
}

// infos translates what the binding tells. It does not tell scalars from tensors
// of unknown rank.
func infos(outputs []ort.InputOutputInfo) map[string]Info {
	of := map[string]Info{}
	for _, x := range outputs {
		info := Info{Name: x.Name, Type: graph.DType(x.DataType), Kind: map[ort.ONNXType]Kind{
			ort.ONNXTypeTensor: TensorKind, ort.ONNXTypeSequence: SequenceKind, ort.ONNXTypeMap: MapKind,
			ort.ONNXTypeOpaque: OpaqueKind, ort.ONNXTypeSparseTensor: SparseKind, ort.ONNXTypeOptional: OptionalKind,
		}[x.OrtValueType]}
		if len(x.Dimensions) > 0 {
			info.Dims = x.Dimensions
		}
		of[x.Name] = info
	}
	return of
}

// temporary writes model to a file, which the caller removes, also after an error.
func temporary(model []byte) (path string, err error) {
	f, err := os.CreateTemp("", "nuwa-*.onnx")
	if err != nil {
		return "", err
	}
	_, err = f.Write(model)
	return f.Name(), errors.Join(err, f.Close())
}

// Outputs returns what ONNX Runtime infers of the outputs of a serialized
// ModelProto, by name. Dims is nil for scalars and where the rank is not known. Of
// opt, only what tells where the model is from counts.
func Outputs(model []byte, opt Options) (map[string]Info, error) {
	if _, err := Load(""); err != nil {
		return nil, err
	}
	return opt.infer(model)
}

func (o Options) unreadable(model []byte, err error) error {
	return &fault.Error{Kind: fault.Model, File: o.Name, Got: fmt.Sprintf("%d bytes that are not an ONNX model", len(model)),
		Err: err, Remedy: "the file is damaged or of another format; export the model again"}
}

// Inputs returns the inputs that a run needs, in the model's order. Those that
// an initializer gives a value are not among them.
func (s *Session) Inputs() []Info { return slices.Clone(s.inputs) }

// Outputs returns the outputs, in the model's order.
func (s *Session) Outputs() []Info { return slices.Clone(s.outputs) }

// Close frees the session. It waits for runs under way; later runs fail.
// Closing twice is allowed.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.clean.Stop()
		s.native.release()
	}
	return nil
}

var errClosed = errors.New("the session is closed")

// position returns the index of the value called name, or -1.
func position(infos []Info, name string) int {
	return slices.IndexFunc(infos, func(i Info) bool { return i.Name == name })
}

func names(infos []Info) []string {
	out := make([]string, len(infos))
	for i, info := range infos {
		out[i] = info.Name
	}
	return out
}

func list(infos []Info) string {
	if len(infos) == 0 {
		return "none"
	}
	out := make([]string, len(infos))
	for i, info := range infos {
		out[i] = info.String()
	}
	return strings.Join(out, ", ")
}
