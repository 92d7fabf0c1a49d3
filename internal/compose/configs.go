package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

const (
	maxConfig     = 64 << 10 // bytes of a file that becomes a config by itself
	maxConfigDir  = 16       // files of a directory that become configs
	maxConfigSize = 512 << 10
)

// configs are the top-level configs of the manifest: Compose's, and files of the host that became some.
type configs struct {
	nodes  []*node
	byFile map[string]string // name of the config by the file of the host
	size   int
	// mounts are those that a service gets besides its own, by service.
	mounts map[*service][]*node
}

func newConfigs() *configs {
	return &configs{byFile: map[string]string{}, mounts: map[*service][]*node{}}
}

func (c *configs) node(im *importer) *node {
	for _, name := range im.inOrder(section(im.model, "configs"), "configs") {
		if _, used := im.names.given["config"][name]; used {
			c.nodes = append(c.nodes, im.config(name))
		}
	}
	if len(c.nodes) == 0 {
		return nil
	}
	n := newMap("configs").add(c.nodes...)
	n.gap = true
	return n
}

// config is one of Compose's.
func (im *importer) config(name string) *node {
	m, _ := section(im.model, "configs")[name].(map[string]any)
	where := []string{"configs", name}
	n := newMap(im.names.of("config", name), where...)
	at := im.src.place(where...)
	switch {
	case str(m["environment"]) != "":
		n.add(newText("environment", literal(str(m["environment"])), append(where, "environment")...))
		im.before(fmt.Sprintf("export %s=…   # it is the config %s", str(m["environment"]), n.key))
	case m["content"] != nil:
		n.add(newText("content", im.text(str(m["content"]), "configs", name, "content"), append(where, "content")...))
	case str(m["file"]) != "":
		rel, ok := im.below(str(m["file"]))
		if !ok {
			gone := newText("file", "", append(where, "file")...)
			im.refuse(im.src.place(append(where, "file")...), n, fmt.Sprintf("the file %s of config %s is not below the directory of the manifest", im.shown(str(m["file"])), name), "copy it there")
			return n.add(gone)
		}
		n.add(newText("file", "./"+literal(rel), append(where, "file")...))
	default:
		im.refuse(at, n, fmt.Sprintf("config %s is external: its contents are not here", name), "give them with content, file or environment")
	}
	for _, k := range []string{"name", "labels", "template_driver", "driver", "driver_opts"} {
		if m[k] == nil {
			continue
		}
		if why, known := manifest.Compose("config", k); known {
			im.note(im.src.place(append(where, k)...), "%s of config %s is left out: %s", k, name, why.Why)
		}
	}
	n.flow = len(n.kids) == 1 && !strings.Contains(n.kids[0].text, "\n")
	return n
}

// reference is a secret or config that a service gets.
func (im *importer) reference(kind string, svc *service, m map[string]any, where []string) *node {
	source := str(m["source"])
	name := im.names.of(kind, source)
	target := str(m["target"])
	if target == "" && name != source {
		target = source
	}
	if target == "" && m["uid"] == nil && m["gid"] == nil && m["mode"] == nil {
		return newText("", name, where...)
	}
	n := newMap("", where...).add(newText("source", name, where...))
	if target != "" {
		n.add(newText("target", im.made(target), where...))
	}
	for _, k := range []string{"uid", "gid"} {
		if s := str(m[k]); s != "" {
			n.add(newText(k, literal(s), where...))
		}
	}
	if m["mode"] != nil {
		n.add(number("mode", mode(m["mode"]), where...))
	}
	n.flow = true
	return n
}

// serviceConfigs are those that a service names, and those that its binds became.
func (im *importer) serviceConfigs(svc *service, key string, v any) *node {
	out := &node{kind: sequence, key: key, path: svc.path(key), flow: true}
	for i, e := range list(v) {
		if m, ok := e.(map[string]any); ok {
			out.add(im.reference("config", svc, m, svc.path(key, fmt.Sprint(i))))
		}
	}
	im.preview(svc)
	out.add(im.configs.mounts[svc]...)
	if len(out.kids) == 0 {
		return nil
	}
	out.flow = !slices.ContainsFunc(out.kids, func(k *node) bool { return k.kind != scalar })
	return out
}

// preview makes configs of the binds of a service, so that they stand where configs stand; volumes comes later.
func (im *importer) preview(svc *service) {
	for i, e := range list(svc.m["volumes"]) {
		m, _ := e.(map[string]any)
		if str(m["type"]) == "bind" {
			at, _ := im.mountPlace(svc, m, i)
			im.configs.fromBind(im, svc, filepath.Clean(str(m["source"])), path.Clean(str(m["target"])), truth(m["read_only"]), at)
		}
	}
}

// secrets are those that a service names; their values are set at the cluster.
func (im *importer) secrets(svc *service, key string, v any) *node {
	out := &node{kind: sequence, key: key, path: svc.path(key)}
	for i, e := range list(v) {
		m, ok := e.(map[string]any)
		if !ok {
			continue
		}
		out.add(im.reference("secret", svc, m, svc.path(key, fmt.Sprint(i))))
		im.secretCommand(str(m["source"]))
	}
	if len(out.kids) == 0 {
		return nil
	}
	out.flow = !slices.ContainsFunc(out.kids, func(k *node) bool { return k.kind != scalar })
	return out
}

// secretCommand says how to give the cluster a secret. Its value is never read.
func (im *importer) secretCommand(source string) {
	m, _ := section(im.model, "secrets")[source].(map[string]any)
	name := im.names.of("secret", source)
	at := im.src.place("secrets", source)
	switch {
	case str(m["driver"]) != "":
		im.faults = append(im.faults, at.Fault(fmt.Sprintf("the driver %s of secret %s cannot be carried over", str(m["driver"]), source), "set its value with `argosy secret set "+name+"`"))
	case str(m["file"]) != "":
		im.before(fmt.Sprintf("argosy secret set %s --file %s", name, shellWord(im.shown(str(m["file"])))))
	case str(m["environment"]) != "":
		im.before(fmt.Sprintf(`printf %%s "$%s" | argosy secret set %s --file -`, str(m["environment"]), name))
	default:
		im.before(fmt.Sprintf("argosy secret set %s   # its value is not in the Compose file", name))
	}
}

// shellWord is a word as a shell takes it.
func shellWord(s string) string {
	if strings.IndexFunc(s, func(c rune) bool { return !wordByte(byte(c)) && c != '/' || c > 127 }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// fromBind makes configs of a small file of the host, or of a directory with a few of them, when they are below the
// directory of the manifest. done says what was done, ok is false when nothing was.
func (c *configs) fromBind(im *importer, svc *service, source, target string, readOnly bool, at manifest.Node) (done string, ok bool) {
	info, err := im.stat(source)
	if err != nil {
		return "", false
	}
	var files []string // relative to source
	switch {
	case info.Mode().IsRegular():
		files = []string{""}
	case info.IsDir() && readOnly:
		if files, err = im.filesOf(source); err != nil || len(files) == 0 {
			return "", false
		}
	default:
		return "", false
	}
	total := 0
	modes := map[string]fs.FileMode{}
	for _, f := range files {
		name := filepath.Join(source, f)
		st, err := im.stat(name)
		if err != nil {
			return "", false
		}
		data, err := im.src.readFile(name, maxConfig)
		if err != nil || !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
			return "", false
		}
		modes[f] = st.Mode()
		if _, known := c.byFile[name]; !known {
			total += len(data)
		}
	}
	if c.size+total > maxConfigSize {
		return "", false
	}
	c.size += total
	for _, f := range files {
		c.add(im, svc, filepath.Join(source, f), path.Join(target, filepath.ToSlash(f)), modes[f], at)
	}
	if len(files) == 1 && !readOnly {
		return fmt.Sprintf("the file %s becomes a config, which the container cannot change", im.source(source, at)), true
	}
	return "", true
}

// add makes a config of a file, once, and mounts it.
func (c *configs) add(im *importer, svc *service, file, target string, perm fs.FileMode, at manifest.Node) {
	for _, m := range c.mounts[svc] {
		if t := m.child("target"); t != nil && t.text == literal(target) {
			return
		}
	}
	name, known := c.byFile[file]
	if !known {
		name = im.names.free("config", filepath.Base(file))
		c.byFile[file] = name
		rel, _ := im.below(file)
		n := newMap(name, svc.path("volumes")...).add(newText("file", "./"+literal(rel), svc.path("volumes")...))
		n.flow = true
		c.nodes = append(c.nodes, n)
	}
	where := svc.path("volumes")
	n := newMap("", where...).add(newText("source", name, where...), newText("target", literal(target), where...))
	if perm&0o111 != 0 {
		n.add(number("mode", "0555", where...))
	}
	n.flow = true
	c.mounts[svc] = append(c.mounts[svc], n)
}

var errOutside = errors.New("it is not below the directory of the manifest")

// stat is what a path of the host is, when it is below the directory of the manifest and of the project.
func (im *importer) stat(p string) (fs.FileInfo, error) {
	if _, ok := im.below(p); !ok {
		return nil, errOutside
	}
	rel, err := filepath.Rel(im.src.abs, p)
	if err != nil || !filepath.IsLocal(rel) {
		return nil, errOutside
	}
	root, err := os.OpenRoot(im.src.abs)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.Stat(rel)
}

// filesOf are the files of a directory, no more than become configs.
func (im *importer) filesOf(dir string) ([]string, error) {
	rel, err := filepath.Rel(im.src.abs, dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(im.src.abs)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var out []string
	seen := 0
	err = fs.WalkDir(root.FS(), filepath.ToSlash(rel), func(p string, d fs.DirEntry, err error) error {
		if seen++; err != nil || seen > 4*maxConfigDir {
			return errors.Join(err, errOutside)
		}
		if d.IsDir() {
			return nil
		}
		if strings.HasPrefix(d.Name(), ".") {
			return nil
		}
		name, err := filepath.Rel(filepath.ToSlash(rel), p)
		if err != nil {
			return err
		}
		if out = append(out, name); len(out) > maxConfigDir {
			return errOutside
		}
		return nil
	})
	return out, err
}

// envFile keeps files with environment variables that are below the directory.
func (im *importer) envFile(svc *service, key string, v any) *node {
	out := &node{kind: sequence, key: key, path: svc.path(key), flow: true}
	for i, e := range list(v) {
		m, ok := e.(map[string]any)
		if !ok {
			m = map[string]any{"path": str(e)}
		}
		where := svc.path(key, fmt.Sprint(i))
		at := im.src.place(where...)
		file := str(m["path"])
		rel, below := im.below(file)
		if !below {
			n := newText("", "", where...)
			im.refuse(at, n, fmt.Sprintf("the file %s of service %s is not below the directory of the manifest", im.shown(file), svc.source), "copy it there")
			out.add(n)
			continue
		}
		required := m["required"] == nil || truth(m["required"])
		format := str(m["format"])
		if required && format == "" {
			out.add(newText("", "./"+literal(rel), where...))
			continue
		}
		n := newMap("", where...).add(newText("path", "./"+literal(rel), where...))
		if !required {
			n.add(number("required", "false", where...))
		}
		if format != "" {
			n.add(newText("format", literal(format), where...))
		}
		n.flow = true
		out.add(n)
	}
	if len(out.kids) == 0 {
		return nil
	}
	out.flow = !slices.ContainsFunc(out.kids, func(k *node) bool { return k.kind != scalar || k.refused != "" })
	return out
}

// labelFile keeps files with labels.
func (im *importer) labelFile(svc *service, key string, v any) *node { return im.envFile(svc, key, v) }
