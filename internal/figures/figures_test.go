package figures

import (
	"testing"
	"time"
)

func TestFigures(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Count(0), "0"}, {Count(999), "999"}, {Count(1000), "1.00 k"}, {Count(184_300_000), "184 M"}, {Count(17_580_000_000), "17.6 G"},
		{Bytes(12), "12 B"}, {Bytes(10_800_000), "10.8 MB"}, {Bytes(2_500), "2.50 kB"}, {Bytes(3_200_000_000), "3.20 GB"},
		{Duration(1500 * time.Millisecond), "1.50 s"}, {Duration(45450 * time.Microsecond), "45.5 ms"}, {Duration(900 * time.Nanosecond), "0.90 µs"},
		{Change(4, 3), " (-25.0 %)"}, {Change(0, 3), ""}, {Plural(1, "image", "images"), "1 image"}, {Plural(0, "image", "images"), "0 images"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
