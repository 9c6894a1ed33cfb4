package report

import "testing"

func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{percent(0.9876, 100), "98.8\u202f%"}, {percent(0.98765, 2000), "98.77\u202f%"},
		{gain(0.5, 0.5004, 100), "±0.0"}, {gain(0.5, 0.46, 100), "−4.0"}, {gain(0.5, 0.54, 100), "+4.0"},
		{way(0.96, 0.94, 50), ""}, {way(0.96, 0.94, 5000), "worse"}, {way(0.5, 0.9, 50), "better"}, {way(1, 0.98, 50), ""}, {way(0.5, 0.5, 0), ""},
		{change(4, 3), "−25.0\u202f%"}, {change(3, 4), "+33.3\u202f%"},
		{list(nil, 3), ""}, {list([]string{"a"}, 3), "a"}, {list([]string{"a", "b", "c"}, 2), "a, b and c"}, {list([]string{"a", "b", "c", "d"}, 2), "a, b and 2 more"},
		{command([]string{"derive", "a b.onnx", "--classes=cat,dog", "--name="}), "nuwa derive 'a b.onnx' --classes=cat,dog --name="}, {command([]string{"$(x)", "it's", ""}), `nuwa '$(x)' 'it'\''s' ''`},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
