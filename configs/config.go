package configs

import (
	"path/filepath"
	"strings"
	"time"
)

// Config says which models a batch makes: every task at every size for every
// target. The tags are the names in a file, what they mean, and the values
// that a name may have.
type Config struct {
	Base     string   `mapstructure:"base" doc:"the model that slim ones are made of, an ONNX file"`
	Data     Data     `mapstructure:"data" doc:"images and class names"`
	Defaults Defaults `mapstructure:"defaults" doc:"what all models are made with"`
	Tasks    []Task   `mapstructure:"tasks" doc:"sets of wanted classes"`
	Sizes    []Size   `mapstructure:"sizes" doc:"how small models shall be"`
	Targets  []Target `mapstructure:"targets" doc:"devices, by the name of a preset or as a table; cpu when there are none"`
	Output   Output   `mapstructure:"output" doc:"where models go"`
}

// Data are images, a folder per class, and what is known of them.
type Data struct {
	Train      string     `mapstructure:"train" doc:"calibration images, a folder per class: a directory, or a path that goes on inside a zip"`
	Test       string     `mapstructure:"test" doc:"images to judge by, never calibrated on; without, a part of train is held back"`
	ImageRoot  string     `mapstructure:"image-root" doc:"what the paths in a CSV are relative to"`
	MultiLabel bool       `mapstructure:"multilabel" doc:"decide each class by itself, even if every image has exactly one"`
	Labels     string     `mapstructure:"labels" doc:"file of class names in the order of the logits"`
	Preprocess Preprocess `mapstructure:"preprocess" doc:"how images become inputs; auto reads it from the model and from the file beside it"`
}

// Preprocess overrides how images become inputs.
type Preprocess struct {
	Size          int       `mapstructure:"size" doc:"height and width, for models that leave them open"`
	Mean          []float32 `mapstructure:"mean" doc:"per channel, of values in 0..1"`
	Std           []float32 `mapstructure:"std" doc:"standard deviation per channel, of values in 0..1"`
	Resize        string    `mapstructure:"resize" doc:"how images get their size" enum:"squash shortest center none"`
	Crop          float64   `mapstructure:"crop" doc:"part of each side that a center crop keeps"`
	Interpolation string    `mapstructure:"interpolation" doc:"how pixels are resampled" enum:"nearest box bilinear hamming bicubic lanczos"`
	Order         string    `mapstructure:"order" doc:"of the channels" enum:"RGB BGR"`
}

// Defaults are what all models of a batch are made with.
type Defaults struct {
	Recipe      string        `mapstructure:"recipe" doc:"paper, or the better best" enum:"best paper"`
	Strategies  []string      `mapstructure:"strategies" doc:"in the place of the recipe's, as PART=STRATEGY; see the flags of nuwa derive"`
	Logits      string        `mapstructure:"logits" doc:"sliced: only the wanted logits; full: the others masked" enum:"sliced full"`
	Purify      string        `mapstructure:"purify" doc:"how neurons that hurt are found first; ste for recipe paper, none for best when not said" enum:"none ste first second"`
	PurifyLoss  string        `mapstructure:"purify-loss" doc:"classes that the loss is over" enum:"all wanted"`
	PurifySteps int           `mapstructure:"purify-steps" doc:"most steps of learning which neurons hurt"`
	PurifyTime  time.Duration `mapstructure:"purify-time" doc:"most time of learning which neurons hurt"`
	Balance     bool          `mapstructure:"balance" doc:"weigh images by the inverse frequency of their class, and calibrate on equally many of each"`
	Other       bool          `mapstructure:"other" doc:"keep one more logit, the last, for all classes that are not wanted"`
	FalseAccept float64       `mapstructure:"false-accept" doc:"part of the images of other classes that may be taken for wanted"`
	Norms       string        `mapstructure:"norms" doc:"fast: layer norms in the operators that ONNX Runtime is fastest at; keep: as exported; the target's choice when not said" enum:"fast keep"`
	Calibration string        `mapstructure:"calibration" doc:"images, or synthetic: standard-normal inputs" enum:"images synthetic"`
	Images      int           `mapstructure:"images" doc:"calibration images; the recipe's number when not said"`
	Align       int           `mapstructure:"align" doc:"widths are multiples of this; the target's when not said"`
	Merge       int           `mapstructure:"merge" doc:"tokens that are merged with others behind each attention; where latency is limited, at most so many"`
	Seed        uint64        `mapstructure:"seed" doc:"of every random choice"`
}

// Task is a set of wanted classes.
type Task struct {
	Name        string   `mapstructure:"name" doc:"a part of the names of its models"`
	Classes     []string `mapstructure:"classes" doc:"names or logit numbers; all keeps every class"`
	ClassesFile string   `mapstructure:"classes-file" doc:"file with one class per line, instead of classes"`
}

// Size says how small a model shall be: by a rate, or by limits that the
// largest model shall hold for which they are met, or, with min-accuracy, the
// smallest one.
type Size struct {
	Name        string        `mapstructure:"name" doc:"a part of the names of models; made from the rest when not said"`
	Rate        float64       `mapstructure:"rate" doc:"part of the multiply-accumulates to remove, 0 to 1"`
	MaxMACs     Count         `mapstructure:"max-macs" doc:"multiply-accumulates per image, as in 1.2G"`
	MaxParams   Count         `mapstructure:"max-params" doc:"parameters, as in 8M"`
	MaxBytes    Bytes         `mapstructure:"max-bytes" doc:"of the file, as in 12MB"`
	MaxMemory   Bytes         `mapstructure:"max-memory" doc:"weights and activations while running one image, as in 200MB"`
	MaxLatency  time.Duration `mapstructure:"max-latency" doc:"of one image on this machine with the target's threads, as in 20ms"`
	MinAccuracy float64       `mapstructure:"min-accuracy" doc:"among the wanted classes, on images of train that nothing was calibrated on, 0 to 1"`
}

// Target is a device: a preset, or one with some of its wishes changed.
type Target struct {
	Name            string        `mapstructure:"name" doc:"a part of the names of models; a preset where like is not said"`
	Like            string        `mapstructure:"like" doc:"the preset that it starts from"`
	Provider        string        `mapstructure:"provider" doc:"execution provider of ONNX Runtime"`
	ProviderOptions []string      `mapstructure:"provider-options" doc:"as NAME=VALUE"`
	Threads         int           `mapstructure:"threads" doc:"inside one operator"`
	Opset           int           `mapstructure:"opset" doc:"the newest that the device reads"`
	Operators       []string      `mapstructure:"operators" doc:"those that the device runs"`
	Align           int           `mapstructure:"align" doc:"widths are multiples of this"`
	Precision       string        `mapstructure:"precision" doc:"of weights and activations" enum:"fp32 fp16 int8"`
	Batch           int           `mapstructure:"batch" doc:"images per run, fixed in the model"`
	Layout          string        `mapstructure:"layout" doc:"of the input" enum:"nchw nhwc"`
	Fuse            string        `mapstructure:"fuse" doc:"what operators are put together: ort: into ONNX Runtime's own; onnx: into standard ones; none" enum:"ort onnx none"`
	Norms           string        `mapstructure:"norms" doc:"fast: in the operators that ONNX Runtime's CPU is fastest at; keep: as exported" enum:"fast keep"`
	MaxMemory       Bytes         `mapstructure:"max-memory" doc:"while running"`
	MaxLatency      time.Duration `mapstructure:"max-latency" doc:"of one run"`
}

// Output says where models go.
type Output struct {
	Dir  string `mapstructure:"dir" doc:"folder, made where it is missing"`
	Name string `mapstructure:"name" doc:"of the file, with {task}, {size} and {target} in it"`
}

// File returns the path of a model.
func (o Output) File(task, size, target string) string {
	return filepath.Join(o.Dir, strings.NewReplacer("{task}", task, "{size}", size, "{target}", target).Replace(o.Name))
}
