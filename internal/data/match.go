package data

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nuwa/internal/fault"
)

// MatchClasses finds for every class of a set the logit that stands for it.
// A folder is matched to the model's class names by name (case, spaces,
// hyphens and underscores do not count; of "n02123045 tabby, tabby cat" each
// part will do), or else by its name being the logit's number. Without class
// names, and unless all folders are numbers, there must be as many folders as
// logits, and their sorted order is the logits' order. The placeholders
// LABEL_0, LABEL_1, … count as no names.
func MatchClasses(setClasses, modelClasses []string, logits int) ([]int, error) {
	if len(modelClasses) > 0 && len(modelClasses) != logits {
		return nil, &fault.Error{Kind: fault.Data, Where: "class names", Got: fmt.Sprintf("%d names", len(modelClasses)),
			Want: fmt.Sprintf("%d, one for each logit", logits), Remedy: "give a label file that belongs to this model"}
	}
	if len(setClasses) == 0 {
		return nil, &fault.Error{Kind: fault.Data, Got: "images without classes", Want: "one folder per class"}
	}
	if placeholders(modelClasses) {
		modelClasses = nil
	}
	if len(modelClasses) == 0 && slices.ContainsFunc(setClasses, notNumber) {
		if len(setClasses) != logits {
			return nil, &fault.Error{Kind: fault.Data,
				Got:    fmt.Sprintf("%d class folders for %d logits and no class names", len(setClasses), logits),
				Want:   fmt.Sprintf("%d folders, or the names of the classes", logits),
				Remedy: "give the model's class names with --labels, or name each folder by its logit number"}
		}
		return all(logits), nil
	}
	known := index(modelClasses, logits)
	out := make([]int, len(setClasses))
	folder := map[int]string{}
	for i, c := range setClasses {
		id, err := known.find(c)
		if err != nil {
			return nil, &fault.Error{Kind: fault.Data, Where: fmt.Sprintf("class folder %q", c), Err: err,
				Remedy: "name the folder like the class or by its logit number, or give the class names with --labels"}
		}
		if other, taken := folder[id]; taken {
			return nil, &fault.Error{Kind: fault.Data, Got: fmt.Sprintf("folders %q and %q for logit %d", other, c, id),
				Want: "one folder per class", Remedy: "merge them"}
		}
		out[i], folder[id] = id, c
	}
	return out, nil
}

// Wanted returns those of a set's classes whose logit is among the wanted ones,
// nil for all; classOf gives each class its logit, −1 for none.
func Wanted(setClasses []string, classOf, wanted []int) []string {
	var out []string
	for i, c := range setClasses {
		if l := classOf[i]; l >= 0 && (wanted == nil || slices.Contains(wanted, l)) {
			out = append(out, c)
		}
	}
	return out
}

// Resolve turns a list of wanted classes into logit numbers, in the order
// given. An item is a class name, or part of one as in MatchClasses, or a
// number from 0 to logits−1; the single item "all" stands for every class.
// names may be empty when they are unknown.
func Resolve(list, names []string, logits int) ([]int, error) {
	known := index(names, logits)
	if len(list) == 1 && normal(list[0]) == "all" && len(known.loose["all"]) == 0 {
		return all(logits), nil
	}
	if len(list) == 0 {
		return nil, &fault.Error{Kind: fault.Data, Where: "classes", Got: "an empty list", Want: `class names, numbers, or "all"`}
	}
	var out []int
	for _, item := range list {
		id, err := known.find(item)
		if err != nil {
			return nil, &fault.Error{Kind: fault.Data, Where: fmt.Sprintf("class %q", item), Err: err}
		}
		if slices.Contains(out, id) {
			return nil, &fault.Error{Kind: fault.Data, Where: fmt.Sprintf("class %q", item),
				Got: fmt.Sprintf("class %d a second time", id), Want: "every class at most once"}
		}
		out = append(out, id)
	}
	return out, nil
}

func all(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func notNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err != nil
}

func placeholders(names []string) bool {
	for i, n := range names {
		if n != fmt.Sprintf("LABEL_%d", i) {
			return false
		}
	}
	return true
}

// nameIndex finds classes by name or number. A spelling that several classes
// share points at all of them.
type nameIndex struct {
	names  []string
	logits int
	exact  map[string][]int
	loose  map[string][]int // by normal form of the name and of its parts
}

func index(names []string, logits int) nameIndex {
	x := nameIndex{names, logits, map[string][]int{}, map[string][]int{}}
	for i, n := range names {
		x.exact[n] = append(x.exact[n], i)
		for _, form := range forms(n) {
			if ids := x.loose[form]; !slices.Contains(ids, i) {
				x.loose[form] = append(ids, i)
			}
		}
	}
	return x
}

func (x nameIndex) find(name string) (int, error) {
	ids := x.exact[name]
	if len(ids) == 0 {
		ids = x.loose[normal(name)]
	}
	switch {
	case len(ids) == 1:
		return ids[0], nil
	case len(ids) > 1:
		return 0, fmt.Errorf("the name stands for the classes %s: use the number", strings.Trim(fmt.Sprint(ids), "[]"))
	}
	n, err := strconv.Atoi(strings.TrimSpace(name))
	switch {
	case err == nil && n >= 0 && n < x.logits:
		return n, nil
	case err == nil:
		return 0, fmt.Errorf("the classes have the numbers 0 to %d", x.logits-1)
	case len(x.names) == 0:
		return 0, fmt.Errorf("the class names are unknown: use numbers from 0 to %d or give the names with --labels", x.logits-1)
	}
	return 0, fmt.Errorf("no such class; %s", suggest(name, x.names))
}

var wordnetID = regexp.MustCompile(`^(n\d{8})\s+(.+)$`)

// forms returns the normal forms under which a label is known: the whole, its
// parts between commas, and its WordNet number.
func forms(label string) []string {
	out := []string{normal(label)}
	if m := wordnetID.FindStringSubmatch(label); m != nil {
		out = append(out, m[1], normal(m[2]))
		label = m[2]
	}
	if parts := strings.Split(label, ","); len(parts) > 1 {
		for _, p := range parts {
			if p = normal(p); p != "" {
				out = append(out, p)
			}
		}
	}
	return out
}

// normal drops case, spaces, hyphens and underscores.
func normal(name string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '_', '-':
			return -1
		}
		return r
	}, name))
}

// suggest lists all names when they are few and otherwise the nearest ones.
func suggest(name string, names []string) string {
	if len(names) <= 12 {
		return "there are " + strings.Join(names, ", ")
	}
	type scored struct {
		name     string
		distance int
	}
	all := make([]scored, len(names))
	for i, n := range names {
		d := fault.Distance(normal(name), normal(n))
		for _, form := range forms(n) {
			d = min(d, fault.Distance(normal(name), form))
		}
		all[i] = scored{n, d}
	}
	slices.SortStableFunc(all, func(a, b scored) int { return cmp.Compare(a.distance, b.distance) })
	near := make([]string, 3)
	for i := range near {
		near[i] = fmt.Sprintf("%q", all[i].name)
	}
	return fmt.Sprintf("the nearest of %d are %s", len(names), strings.Join(near, ", "))
}
