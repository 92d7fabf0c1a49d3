package compose

import (
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/interpolation"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// load has compose-go resolve the project into im.model, in which the services that are not switched on are missing.
func (im *importer) load() (fault manifest.Fault, failed bool) {
	logrus.SetOutput(io.Discard) // compose-go warns of what the notes say better
	model, project, err := im.resolve()
	if err != nil {
		return im.explain(err), true
	}
	im.model = model
	im.app = project.Name
	services := section(model, "services")
	for _, name := range slices.Sorted(maps.Keys(project.DisabledServices)) {
		delete(services, name)
		profiles := project.DisabledServices[name].Profiles
		im.note(im.src.place("services", name), "service %s is left out: it is only in %s (--profile %s)", name, words("profile", profiles), first(profiles))
	}
	for name, s := range services {
		if s == nil {
			delete(services, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(im.vars.required)) {
		im.before(fmt.Sprintf("export %s=…   # it is required", name))
	}
	return manifest.Fault{}, false
}

func first(list []string) string {
	if len(list) == 0 {
		return "NAME"
	}
	return list[0]
}

// resolve calls compose-go twice: for the model as it is written, and for the project with Compose's defaults, which is
// checked for what does not fit together. A panic there is an error here: the files are anybody's.
func (im *importer) resolve() (model map[string]any, project *types.Project, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it cannot be understood as Compose: %v", p)
		}
	}()
	details := types.ConfigDetails{WorkingDir: im.src.abs, Environment: im.vars.merged()}
	for _, src := range im.src.top {
		name := src.abs
		if name == "" {
			name = src.base + "/" + manifest.Stdin
		}
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: name, Content: src.data})
	}
	options := func(o *loader.Options) {
		o.Interpolate = &interpolation.Options{Substitute: im.vars.substitute, LookupValue: details.LookupEnv, TypeCastMapping: o.Interpolate.TypeCastMapping}
		o.SkipNormalization, o.SkipDefaultValues = true, true
		o.SkipResolveEnvironment, o.SkipResolveLabels = true, true
		o.Profiles = im.opts.Profiles
		name := manifest.NameLike(im.projectName())
		if name == "" {
			name = "app"
		}
		o.SetProjectName(name, im.opts.App != "")
	}
	ctx := context.Background()
	if model, err = loader.LoadModelWithContext(ctx, details, options); err != nil {
		return nil, nil, err
	}
	if im.opts.App != "" {
		model["name"] = im.opts.App
	}
	project, err = loader.LoadWithContext(ctx, details, options, func(o *loader.Options) {
		o.SkipNormalization, o.SkipDefaultValues = false, false
	})
	return model, project, err
}

// explain gives an error of compose-go the place of what it names.
func (im *importer) explain(err error) manifest.Fault {
	text := err.Error()
	for _, src := range im.src.files {
		if src.abs != "" {
			text = strings.ReplaceAll(text, src.abs, src.name)
		}
	}
	text = strings.TrimSuffix(text, ": invalid compose project")
	if i := strings.LastIndex(text, "validating "); i >= 0 {
		if _, rest, ok := strings.Cut(text[i:], ": "); ok {
			text = rest
		}
	}
	line, _, _ := strings.Cut(text, "\n")
	at := im.placeIn(line)
	if at.IsZero() {
		at = im.src.top[len(im.src.top)-1].root
	}
	return at.Fault("Compose does not accept this: "+strings.ReplaceAll(text, "\n", " "), "")
}

// placeIn finds the place that a message of compose-go is about: by a path in it, or by the service that it names.
func (im *importer) placeIn(text string) manifest.Node {
	path := regexp.MustCompile(`\b(services|volumes|networks|secrets|configs)\.[^\s:'"]+`).FindString(text)
	if path != "" {
		steps := strings.Split(strings.NewReplacer("[", ".", "]", "").Replace(strings.TrimRight(path, ".,")), ".")
		return im.best(steps, text)
	}
	if m := regexp.MustCompile(`service "?([\w.-]+)"?`).FindStringSubmatch(text); m != nil {
		return im.best([]string{"services", m[1]}, text)
	}
	return manifest.Node{}
}

// best is the place of a path, and below it of the first value or key that the message quotes.
func (im *importer) best(steps []string, text string) manifest.Node {
	node := im.src.place(steps...)
	all := im.src.all(steps...)
	if len(all) == 0 {
		return node
	}
	for _, word := range quotedWords(text) {
		if at := find(all[0], word, 6); !at.IsZero() {
			return at
		}
	}
	return node
}

// quotedWords are the words of a message that stand in quotes, and its last word.
func quotedWords(text string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`["'`+"`"+`]([^"'`+"`"+`]+)["'`+"`"+`]`).FindAllStringSubmatch(text, 8) {
		out = append(out, m[1])
	}
	if f := strings.Fields(text); len(f) > 0 {
		out = append(out, strings.Trim(f[len(f)-1], `"'.:`))
	}
	return out
}

// find is the first key or value below a node that is the word.
func find(n manifest.Node, word string, depth int) manifest.Node {
	if depth == 0 {
		return manifest.Node{}
	}
	for _, key := range n.Keys() {
		child, _ := n.Child(key)
		if key == word {
			return child.Name()
		}
		if at := find(child, word, depth-1); !at.IsZero() {
			return at
		}
	}
	for _, item := range n.Items() {
		if at := find(item, word, depth-1); !at.IsZero() {
			return at
		}
	}
	if text, ok := n.Scalar(); ok && (text == word || strings.HasPrefix(text, word+":")) {
		return n
	}
	return manifest.Node{}
}

// projectName is what the project is called when no file says it: as the option says, or as its directory.
func (im *importer) projectName() string {
	if im.opts.App != "" {
		return im.opts.App
	}
	if im.opts.LookupEnv != nil {
		if s, ok := im.opts.LookupEnv("COMPOSE_PROJECT_NAME"); ok && s != "" {
			return s
		}
	}
	return im.src.abs[strings.LastIndexByte(im.src.abs, '/')+1:]
}

// The model of compose-go is maps, lists and single values.

func section(m map[string]any, name string) map[string]any {
	s, _ := m[name].(map[string]any)
	return s
}

func list(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case nil:
		return nil
	default:
		return []any{v}
	}
}

// str is a single value as Compose writes it.
func str(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case time.Time:
		if v.Equal(v.Truncate(24 * time.Hour)) {
			return v.Format(time.DateOnly)
		}
		return v.Format(time.RFC3339Nano)
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

func truth(v any) bool { return str(v) == "true" }

func words(noun string, list []string) string {
	if len(list) == 1 {
		return noun + " " + list[0]
	}
	return noun + "s " + strings.Join(list, ", ")
}
