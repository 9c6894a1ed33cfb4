package data

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"nuwa/internal/fault"
)

func TestLoadLabels(t *testing.T) {
	for content, want := range map[string][]string{
		"cat\ndog\n":                         {"cat", "dog"},
		"\ufeffcat\r\n tabby cat \r\n\r\n":   {"cat", "tabby cat"},
		`["cat", "dog"]`:                     {"cat", "dog"},
		`{"1": "dog", "0": "cat"}`:           {"cat", "dog"},
		`{"dog": 1, "cat": 0}`:               {"cat", "dog"},
		`{"0": ["n01440764", "tench"]}`:      {"n01440764 tench"},
		`{"x": 3, "id2label": {"0": "cat"}}`: {"cat"},
		`{"label_names": ["cat", "dog"]}`:    {"cat", "dog"},
		"n01440764 tench, Tinca tinca\ncock": {"n01440764 tench, Tinca tinca", "cock"},
		"12\n7":                              {"12", "7"},
	} {
		got, err := LoadLabels(written(t, "labels.txt", content))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v, want %q", content, got, err, want)
		}
	}
	for content, want := range map[string]string{
		"":                        "no names",
		"cat\n\ndog":              "line 2 is empty",
		"cat\x00":                 "line 1 is not text",
		`["cat", 3]`:              "cannot unmarshal",
		`{"0": "cat", "2": "x"}`:  "2 names want the logits 0 to 1",
		`{"0": "cat", "00": "x"}`: "logit 0",
		`{"cat": "dog"}`:          `key "cat": want a logit number`,
		`{"0": {}}`:               `key "0": want a class name`,
		`{"id2label": 3}`:         "id2label is 3",
		`{"id2label": {}}`:        "no names",
		`{"0": "cat"`:             "unexpected end",
	} {
		file := written(t, "labels.txt", content)
		_, err := LoadLabels(file)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), file) || fault.KindOf(err) != fault.Data {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
	}
	if _, err := LoadLabels("there/is/none.txt"); fault.KindOf(err) != fault.Data {
		t.Errorf("a missing file gave %v", err)
	}
}

var pets5 = []string{"n02123045 tabby, tabby cat", "Egyptian cat", "golden_retriever", "crane", "crane"}

func TestMatchClasses(t *testing.T) {
	digits := []string{"0", "1", "10", "11", "2"}
	for _, c := range []struct {
		set, model []string
		logits     int
		want       []int
	}{
		{[]string{"Golden-Retriever", "egyptian cat"}, pets5, 5, []int{2, 1}},
		{[]string{"n02123045"}, pets5, 5, []int{0}},
		{[]string{"TabbyCat"}, pets5, 5, []int{0}},
		{[]string{"4", "tabby"}, pets5, 5, []int{4, 0}},
		{[]string{"b", "c", "a"}, nil, 3, []int{0, 1, 2}},
		{digits, nil, 12, []int{0, 1, 10, 11, 2}},
		{[]string{"7", "5"}, []string{"5", "6", "7"}, 3, []int{2, 0}},
		{[]string{"cat", "dog"}, []string{"LABEL_0", "LABEL_1"}, 2, []int{0, 1}},
		{[]string{"crane", "Crane"}, []string{"Crane", "crane"}, 2, []int{1, 0}},
	} {
		got, err := MatchClasses(c.set, c.model, c.logits)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q in %q: got %v, %v, want %v", c.set, c.model, got, err, c.want)
		}
	}
	for _, c := range []struct {
		set, model []string
		logits     int
		want       string
	}{
		{[]string{"cat"}, []string{"cat", "dog"}, 3, "got 2 names, want 3"},
		{nil, nil, 3, "images without classes"},
		{[]string{"a", "b"}, nil, 3, "2 class folders for 3 logits and no class names"},
		{[]string{"1", "2", "3"}, nil, 3, "the classes have the numbers 0 to 2"},
		{[]string{"0", "00"}, nil, 3, `folders "0" and "00" for logit 0`},
		{[]string{"tabby", "tabby cat"}, pets5, 5, `folders "tabby" and "tabby cat" for logit 0`},
		{[]string{"crane"}, pets5, 5, `class folder "crane": the name stands for the classes 3 4`},
		{[]string{"cow"}, pets5, 5, `class folder "cow": no such class; there are n02123045 tabby`},
	} {
		_, err := MatchClasses(c.set, c.model, c.logits)
		if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Data {
			t.Errorf("%q in %q: got %v, want %q", c.set, c.model, err, c.want)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		list, names []string
		want        []int
	}{
		{[]string{"crane ", "tabby"}, []string{"tabby", "crane"}, []int{1, 0}},
		{[]string{"All"}, pets5, []int{0, 1, 2, 3, 4}},
		{[]string{"all"}, []string{"none", "all"}, []int{1}},
		{[]string{"4", " 2"}, nil, []int{4, 2}},
		{[]string{"3"}, pets5, []int{3}},
	} {
		got, err := Resolve(c.list, c.names, 5)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q in %q: got %v, %v, want %v", c.list, c.names, got, err, c.want)
		}
	}
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("breed number %d", i)
	}
	many[40], many[41] = "golden retriever", "n02099712 Labrador retriever, Labrador"
	for _, c := range []struct {
		list, names []string
		want        string
	}{
		{nil, pets5, "an empty list"},
		{[]string{"cat"}, nil, "the class names are unknown: use numbers from 0 to 99"},
		{[]string{"100"}, nil, "the numbers 0 to 99"},
		{[]string{"tabby", "tabby cat"}, pets5, `class "tabby cat": got class 0 a second time`},
		{[]string{"goldn retreiver"}, many, `the nearest of 100 are "golden retriever"`},
		{[]string{"labradr"}, many, `the nearest of 100 are "n02099712 Labrador retriever, Labrador"`},
	} {
		_, err := Resolve(c.list, c.names, 100)
		if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Data {
			t.Errorf("%q: got %v, want %q", c.list, err, c.want)
		}
	}
}
