package report

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// browse opens a page in headless Chromium and returns the document once its
// script has run, and what was said on the console.
func browse(t *testing.T, page string) (dom string, console []string) {
	t.Helper()
	var browser string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			browser = p
			break
		}
	}
	if browser == "" {
		t.Skip("no Chromium is installed to open the page in")
	}
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, log bytes.Buffer
	c := exec.CommandContext(t.Context(), browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--user-data-dir="+t.TempDir(), "--enable-logging=stderr", "--dump-dom", "file://"+file)
	c.Stdout, c.Stderr = &out, &log
	if err := c.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", browser, err, log.String())
	}
	for line := range strings.Lines(log.String()) {
		if _, said, ok := strings.Cut(line, "CONSOLE"); ok {
			console = append(console, strings.TrimSpace(said))
		}
	}
	return out.String(), console
}

// TestBrowser opens the page of a model and the index in Chromium: nothing is
// to be said on the console, columns sort, and the search shows fewer rows.
func TestBrowser(t *testing.T) {
	page, _ := render(t, func(w io.Writer) error {
		return sample("slim.onnx", 0.5, "cat", "dog", "eel").WriteHTML(w, sample("other.onnx", 0.3, "cat", "dog", "eel"))
	})
	dom, console := browse(t, page)
	if len(console) > 0 {
		t.Errorf("the console says %q", console)
	}
	if !strings.Contains(dom, "<button>change</button>") {
		t.Error("the script did not run")
	}

	page, _ = render(t, farm().WriteHTML)
	policy := regexp.MustCompile(`script-src &#39;[^;]*&#39;`)
	if !policy.MatchString(page) {
		t.Fatal("the page has no policy for scripts")
	}
	page = policy.ReplaceAllLiteralString(page, "script-src &#39;unsafe-inline&#39;")
	page = strings.Replace(page, "</body>", `<script>
const press = (name) => [...document.querySelectorAll("#models button")].find((b) => b.textContent === name).click();
const column = (i) => [...document.querySelector("#models").tBodies[0].rows].filter((r) => !r.hidden).map((r) => r.cells[i].textContent).join(" ");
const say = (what) => document.body.append("[" + what + "]");
press("latency"); say(column(7));
press("latency"); say(column(7));
press("size"); say(column(1));
const search = document.querySelector("input[type=search]");
search.value = "WEB 0.5"; search.dispatchEvent(new Event("input")); say(column(1) + column(2));
console.log("heard");
</script></body>`, 1)
	dom, console = browse(t, page)
	if len(console) != 1 || !strings.Contains(console[0], "heard") {
		t.Errorf("the console says %q, want what the test said", console)
	}
	var said []string
	for _, m := range regexp.MustCompile(`\[([^][]*)\]`).FindAllStringSubmatch(dom[strings.LastIndex(dom, "</script>"):], -1) {
		said = append(said, m[1])
	}
	want := []string{
		"3.00 ms 3.00 ms 4.00 ms 4.00 ms 5.00 ms 5.00 ms 5.00 ms 7.00 ms 7.00 ms ",
		"7.00 ms 7.00 ms 5.00 ms 5.00 ms 5.00 ms 4.00 ms 4.00 ms 3.00 ms 3.00 ms ",
		"rate 0.3 rate 0.3 rate 0.5 rate 0.5 rate 0.5 rate 0.6 rate 0.6 rate 0.7 rate 0.7 rate 0.99",
		"rate 0.5web",
	}
	if !slices.Equal(said, want) {
		t.Errorf("got columns %q, want %q", said, want)
	}
}
