package manifest

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// YAML is a JSON document as YAML: the same values, their keys in the same order.
func YAML(document []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Load(document, &doc); err != nil {
		return nil, fmt.Errorf("writing YAML: %w", err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, fmt.Errorf("writing YAML: %d values where one was expected", len(doc.Content))
	}
	unfold(doc.Content[0])
	return (&tree{doc.Content[0]}).encode()
}

// unfold writes maps and lists below one another, and texts without quotes where those are not needed.
func unfold(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	switch n.Kind {
	case yaml.MappingNode, yaml.SequenceNode:
		n.Style = 0
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		for _, c := range n.Content {
			unfold(c)
		}
	case yaml.ScalarNode:
		if _, err := strconv.ParseFloat(n.Value, 64); n.ShortTag() == "!!str" && err != nil && plainWord(n.Value) {
			n.Style = 0
		}
	}
}
