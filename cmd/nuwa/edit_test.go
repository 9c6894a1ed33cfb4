package main

import (
	"encoding/binary"
	"math"
	"os"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/proto"

	"nuwa/internal/onnxpb"
)

// edits are the ways in which a script can spoil a model.
var edits = map[string]func(m *onnxpb.ModelProto){
	// nan makes one number of the largest weight NaN.
	"nan": func(m *onnxpb.ModelProto) {
		w := largest(m)
		binary.LittleEndian.PutUint32(w.RawData[4:], math.Float32bits(float32(math.NaN())))
	},
	// cycle has the first node read what the last one makes.
	"cycle": func(m *onnxpb.ModelProto) {
		nodes := m.Graph.Node
		nodes[0].Input[0] = nodes[len(nodes)-1].Output[0]
	},
	// escape has a weight lie outside of the model's folder.
	"escape": func(m *onnxpb.ModelProto) { external(m, "../weights.bin") },
	// lost has a weight lie in a file that is not there.
	"lost": func(m *onnxpb.ModelProto) { external(m, "weights.bin") },
	// twice adds an input that the result depends on.
	"twice": func(m *onnxpb.ModelProto) {
		g := m.Graph
		second := proto.Clone(g.Input[0]).(*onnxpb.ValueInfoProto)
		second.Name = proto.String("second")
		sum := &onnxpb.NodeProto{OpType: proto.String("Add"), Input: []string{g.Input[0].GetName(), "second"}, Output: []string{"sum"}}
		read(g, g.Input[0].GetName(), "sum")
		g.Input, g.Node = append(g.Input, second), slices.Insert(g.Node, 0, sum)
	},
	// gray has the model take images of one channel.
	"gray": func(m *onnxpb.ModelProto) {
		g := m.Graph
		in := g.Input[0].GetName()
		g.Input[0].Type.GetTensorType().Shape.Dim[1] = dim(1)
		read(g, in, "rgb")
		g.Node = slices.Insert(g.Node, 0, &onnxpb.NodeProto{OpType: proto.String("Concat"), Input: []string{in, in, in}, Output: []string{"rgb"},
			Attribute: []*onnxpb.AttributeProto{{Name: proto.String("axis"), Type: proto.Int32(2), I: proto.Int64(1)}}})
	},
	// features takes the classifier off.
	"features": func(m *onnxpb.ModelProto) {
		g := m.Graph
		last := g.Node[len(g.Node)-1]
		g.Output[0].Name = proto.String(last.Input[0])
		g.Output[0].Type.GetTensorType().Shape.Dim[1] = dim(32)
		g.Node = g.Node[:len(g.Node)-1]
	},
	// batch fixes the batch at 4.
	"batch": func(m *onnxpb.ModelProto) {
		for _, v := range []*onnxpb.ValueInfoProto{m.Graph.Input[0], m.Graph.Output[0]} {
			v.Type.GetTensorType().Shape.Dim[0] = dim(4)
		}
	},
	// custom has one operator that no one knows.
	"custom": func(m *onnxpb.ModelProto) {
		n := m.Graph.Node[len(m.Graph.Node)-1]
		n.OpType, n.Domain = proto.String("Mystery"), proto.String("com.example")
		m.OpsetImport = append(m.OpsetImport, &onnxpb.OperatorSetIdProto{Domain: proto.String("com.example"), Version: proto.Int64(1)})
	},
}

func edit(ts *testscript.TestScript, _ bool, args []string) {
	change := edits[args[0]]
	if change == nil {
		ts.Fatalf("no edit is called %q", args[0])
	}
	b, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	var m onnxpb.ModelProto
	ts.Check(onnxpb.Unmarshal(slices.Clone(b), &m))
	change(&m)
	b, err = proto.Marshal(&m)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), b, 0o644))
}

func largest(m *onnxpb.ModelProto) *onnxpb.TensorProto {
	return slices.MaxFunc(m.Graph.Initializer, func(a, b *onnxpb.TensorProto) int { return len(a.RawData) - len(b.RawData) })
}

func external(m *onnxpb.ModelProto, location string) {
	w := largest(m)
	w.RawData = nil
	w.DataLocation = proto.Int32(1)
	w.ExternalData = []*onnxpb.StringStringEntryProto{{Key: proto.String("location"), Value: proto.String(location)}}
}

func dim(n int64) *onnxpb.TensorShapeProto_Dimension {
	return &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: n}}
}

// read has all nodes of g read another value in place of one.
func read(g *onnxpb.GraphProto, old, other string) {
	for _, n := range g.Node {
		for i, name := range n.Input {
			if name == old {
				n.Input[i] = other
			}
		}
	}
}
