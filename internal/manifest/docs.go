package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// Reference is the reference of the manifest in Markdown, made from the same tables as the parser and the schema.
func Reference() []byte {
	t := tables()
	d := &docWriter{}
	d.line("# The manifest")
	d.line("")
	d.line("<!-- Made from the tables of internal/manifest: go test ./internal/manifest -run Docs -rewrite -->")
	d.line("")
	d.line("A manifest is a YAML file that says what an app is. `argosy validate FILE…` checks it and reports everything that is")
	d.line("wrong at once, each fault with its place; `argosy schema` prints its JSON Schema, so that editors complete and check it.")
	d.line("Keys that begin with `x-` are left to other tools and to YAML anchors; every other key is honoured or refused.")
	d.line("")
	d.line("```yaml")
	d.line("%s", strings.TrimSpace(referenceExample))
	d.line("```")
	d.line("")
	d.line("Several files can be one app: together they say everything, and nothing twice. Each begins with `argosy: v1`.")
	d.line("")
	d.line("Names (of apps, containers, stacks, volumes, configs, secrets) are DNS labels that begin with a letter: small letters,")
	d.line("digits and hyphens, at most 63. Units are called as their files are: `web.service`, `data.mount`, `web@.service`.")
	d.line("")
	d.section("Top level", "", t.app.docs())
	d.section("Containers", "containers.NAME.", t.container.docs())
	d.line("How each key of Compose is treated, and what to use instead of those that are refused, is in [compose.md](compose.md).")
	d.line("")
	d.section("Units", "units.NAME.", t.unit.docs())
	d.line("`NAME: TEXT` is short for `NAME: {content: TEXT}`. What becomes of units on machines is in [units.md](units.md).")
	d.line("")
	d.section("Stacks", "stacks.NAME.", t.stack.docs())
	d.section("Cluster", "cluster.NAME.", t.cluster.docs())
	d.line("`NAME: 5` is short for `NAME: {count: 5}`.")
	d.line("")
	d.section("Configs", "configs.NAME.", t.config.docs())
	d.line("## Variables")
	d.line("")
	d.line("Values (not keys) may hold variables of the environment of `argosy`:")
	d.line("")
	d.line("| written | means |")
	d.line("|---|---|")
	d.line("| `$V`, `${V}` | the variable; nothing, and a note, when it is not set |")
	d.line("| `${V:-word}`, `${V-word}` | `word` when it is not set; with the colon also when it is empty |")
	d.line("| `${V:+word}`, `${V+word}` | `word` when it is set; with the colon only when it is not empty |")
	d.line("| `${V:?why}`, `${V?why}` | a fault that says why, when it is not set; with the colon also when it is empty |")
	d.line("| `$$` | a dollar sign, as is one before anything else |")
	d.line("")
	d.line("## Bounds")
	d.line("")
	d.line("A manifest file has at most %s, a file that it names %s. A unit file has at most %s. An app has at", sizeText(MaxFileSize), sizeText(MaxReadSize), sizeText(unitfile.MaxSize))
	d.line("most %d containers and as many units, a stack %d members, and", MaxContainers, MaxMembers)
	d.line("there are at most %d replicas of a stack. At most %d faults are shown at once.", MaxReplicas, MaxFaults)
	return []byte(d.b.String())
}

const referenceExample = `
argosy: v1
app: shop

containers:                          # what each container is
  mysql:
    image: mariadb:10.11
    secrets: [db-root]
    volumes: ["data:/var/lib/mysql"]
    healthcheck: {test: [CMD, healthcheck.sh, --connect], interval: 2s}
    mem_limit: 256m
  apache:
    image: php:8.2-apache
    depends_on: {mysql: {condition: service_healthy}}
    environment: {DB_HOST: mysql}
    expose: [80]

stacks:                              # what belongs together
  lamp:
    containers: [mysql, apache]
    volumes:
      data: {size: 1GiB}
    placement: {spread: [machine]}

cluster:                             # how many of each the cluster needs
  lamp: 5
`

// docWriter writes Markdown.
type docWriter struct{ b strings.Builder }

func (d *docWriter) line(format string, args ...any) {
	fmt.Fprintf(&d.b, format, args...)
	d.b.WriteByte('\n')
}

// section is a table of keys, and below it one for each key whose value is a map with known keys.
func (d *docWriter) section(title, prefix string, keys []keyDoc) {
	d.line("## %s", title)
	d.line("")
	d.table(keys)
	d.nested(prefix, keys)
}

func (d *docWriter) nested(prefix string, keys []keyDoc) {
	for _, k := range keys {
		// The maps of the top level have sections of their own.
		if k.refused != "" || len(k.keys) == 0 || prefix == "" {
			continue
		}
		d.line("### `%s%s`", prefix, k.name)
		d.line("")
		d.table(k.keys)
		d.nested(prefix+k.name+".", k.keys)
	}
}

func (d *docWriter) table(keys []keyDoc) {
	d.line("| key | value | |")
	d.line("|---|---|---|")
	for _, k := range keys {
		if k.refused != "" {
			continue
		}
		doc := k.withExample()
		if k.required {
			doc = "**Required.** " + doc
		}
		d.line("| `%s` | %s | %s |", k.name, cell(k.word), cell(doc))
	}
	d.line("")
}

func (k keyDoc) withExample() string {
	if k.example == "" || strings.Contains(k.example, "\n") {
		return k.text()
	}
	return k.text() + " For example `" + k.example + "`."
}

func cell(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "|", `\|`), "\n", " ")
}

// ComposeReference lists every service key of the Compose Specification in Markdown: honoured, or refused and why.
func ComposeReference() []byte {
	t := tables()
	d := &docWriter{}
	d.line("# Compose keys")
	d.line("")
	d.line("<!-- Made from the tables of internal/manifest: go test ./internal/manifest -run Docs -rewrite -->")
	d.line("")
	d.line("A container in a manifest is described with the service keys of the [Compose Specification](https://compose-spec.io), which mean")
	d.line("what they mean there. A key that Argosy does not honour is refused by name when the manifest is checked, never ignored.")
	d.line("Keys that begin with `x-` are passed over, as in Compose.")
	d.line("")
	d.line("What differs:")
	d.line("")
	d.line("- A number or a truth value in `environment`, `labels` and the like is taken as it is written: `1.10` stays `1.10`.")
	d.line("- `restart` is `always` when it is not said: a replica is wanted until it is not.")
	d.line("- A limit for cpus or memory is also reserved for the container when it is placed, unless a reservation says otherwise.")
	d.line("  Without either, 0.1 cpus and 64 MiB are reserved.")
	d.line("- A command that is a text is split into words as Compose does it, but `|`, `;`, `>` and what else only a shell understands")
	d.line("  is a fault and does not end the command.")
	d.line("- Files (`env_file`, `label_file`, `configs`) are at or below the directory of the manifest.")
	d.line("- A host path, the engine's socket, capabilities that reach beyond the container, options that weaken its walls: refused")
	d.line("  unless an administrator's policy grants them.")
	d.line("")
	keys := t.container.docs()
	slices.SortFunc(keys, func(a, b keyDoc) int { return strings.Compare(a.name, b.name) })
	d.line("## Service keys")
	d.line("")
	d.honoured(keys)
	d.line("## Refused service keys")
	d.line("")
	d.refusedKeys("", keys)
	for _, k := range keys {
		d.below(k.name+".", k.keys)
	}
	d.line("")
	d.line("## The top level")
	d.line("")
	d.refusedKeys("", t.app.docs())
	d.line("")
	d.line("## Volumes and configs")
	d.line("")
	d.line("Volumes are declared at the stack that uses them, configs at the top level as in Compose.")
	d.line("")
	d.refusedKeys("volumes.NAME.", t.volume.docs())
	d.below("configs.NAME.", t.config.docs())
	return []byte(d.b.String())
}

func (d *docWriter) honoured(keys []keyDoc) {
	d.line("| key | |")
	d.line("|---|---|")
	for _, k := range keys {
		if k.refused == "" {
			d.line("| `%s` | %s |", k.name, cell(k.withExample()))
		}
	}
	d.line("")
}

func (d *docWriter) refusedKeys(prefix string, keys []keyDoc) {
	d.line("| key | why | instead |")
	d.line("|---|---|---|")
	d.below(prefix, keys)
}

// below writes a row for each refused key, also of nested maps.
func (d *docWriter) below(prefix string, keys []keyDoc) {
	for _, k := range keys {
		if k.refused != "" {
			d.line("| `%s%s` | %s | %s |", prefix, k.name, cell(k.refused), cell(k.instead))
		}
	}
	if prefix == "" {
		return
	}
	for _, k := range keys {
		d.below(prefix+k.name+".", k.keys)
	}
}
