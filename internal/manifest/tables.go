package manifest

import "sync"

// tableSet is every table. The parser, the schema and the docs are made from it.
type tableSet struct {
	app       *object[*draft]
	container *object[*container]
	unit      *object[*unit]
	stack     *object[*stack]
	volume    *object[*volume]
	cluster   *object[*entryOf]
	config    *object[*config]
}

// tables are made when first asked for and never change.
var tables = sync.OnceValue(func() *tableSet {
	t := &tableSet{container: containerTable(), unit: unitTable(), stack: stackTable(), volume: volumeTable(), cluster: clusterTable(), config: configTable()}
	t.app = appTable(t.container, t.unit, t.stack, t.cluster, t.config)
	return t
})
