package graph

import (
	"container/heap"
	"fmt"
	"slices"
	"strings"
)

// Sort orders the nodes of g, and of every graph nested in it, so that each
// comes after the producers of what it reads. Nodes that are in order stay
// where they are. A cycle is an error that names nodes on it.
func (g *Graph) Sort() error {
	if err := g.sortOwn(); err != nil {
		return err
	}
	for _, n := range g.nodes {
		for _, h := range n.Subgraphs() {
			if err := h.Sort(); err != nil {
				return err
			}
		}
	}
	return nil
}

// sortOwn is Sort without the nested graphs.
func (g *Graph) sortOwn() error {
	sorted, err := g.Order()
	if err == nil {
		g.nodes = sorted
	}
	return err
}

// Order returns the nodes of g in the order that Sort would give them, leaving
// g as it is.
func (g *Graph) Order() ([]*Node, error) {
	pos := make(map[*Node]int, len(g.nodes))
	for i, n := range g.nodes {
		pos[n] = i
	}
	waiting := make([]int, len(g.nodes))
	readers := make([][]int, len(g.nodes))
	for i, n := range g.nodes {
		seen := map[int]bool{}
		n.operands(func(v *Value) {
			if p, ok := pos[v.producer]; ok && v.producer != nil && !seen[p] {
				seen[p] = true
				readers[p] = append(readers[p], i)
				waiting[i]++
			}
		})
	}
	var ready intHeap
	for i, w := range waiting {
		if w == 0 {
			ready = append(ready, i)
		}
	}
	heap.Init(&ready)
	sorted := make([]*Node, 0, len(g.nodes))
	for len(ready) > 0 {
		i := heap.Pop(&ready).(int)
		sorted = append(sorted, g.nodes[i])
		for _, r := range readers[i] {
			if waiting[r]--; waiting[r] == 0 {
				heap.Push(&ready, r)
			}
		}
	}
	if len(sorted) < len(g.nodes) {
		return nil, fmt.Errorf("graph %q has a cycle: %s", g.Name, g.cycle(pos, waiting))
	}
	return sorted, nil
}

// cycle names the nodes of one cycle, each followed by one whose result it
// reads. waiting tells how many producers each node could not come after.
func (g *Graph) cycle(pos map[*Node]int, waiting []int) string {
	at := slices.IndexFunc(waiting, func(w int) bool { return w > 0 })
	var path []int
	seen := map[int]bool{}
	for !seen[at] {
		seen[at] = true
		path = append(path, at)
		next := at
		g.nodes[at].operands(func(v *Value) {
			if p, ok := pos[v.producer]; ok && v.producer != nil && waiting[p] > 0 {
				next = p
			}
		})
		at = next
	}
	path = append(path[slices.Index(path, at):], at)
	var names []string
	for i, p := range path {
		if i == 5 && len(path) > 7 {
			names = append(names, fmt.Sprintf("%d more", len(path)-6))
			break
		}
		names = append(names, g.nodes[p].String())
	}
	return strings.Join(names, " reads ")
}

// operands calls f for everything n reads, by itself or in nested graphs.
func (n *Node) operands(f func(*Value)) {
	for _, v := range n.inputs {
		if v != nil {
			f(v)
		}
	}
	for _, h := range n.Subgraphs() {
		for _, m := range h.nodes {
			m.operands(f)
		}
		for _, v := range h.outputs {
			f(v)
		}
	}
}

type intHeap []int

func (h intHeap) Len() int           { return len(h) }
func (h intHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h intHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *intHeap) Push(x any)        { *h = append(*h, x.(int)) }
func (h *intHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
