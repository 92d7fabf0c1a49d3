package lsp

import "encoding/json"

// The part of the Language Server Protocol (3.17) that the server speaks, under its names.

type position struct {
	Line      int `json:"line"`
	Character int `json:"character"` // UTF-16 code units
}

type span struct {
	Start position `json:"start"`
	End   position `json:"end"`
}

type location struct {
	URI   string `json:"uri"`
	Range span   `json:"range"`
}

type textEdit struct {
	Range   span   `json:"range"`
	NewText string `json:"newText"`
}

type markup struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
}

func markdown(s string) *markup { return &markup{"markdown", s} }

type initializeParams struct {
	Capabilities struct {
		Workspace struct {
			DidChangeWatchedFiles struct{ DynamicRegistration bool }
		}
		TextDocument struct {
			Completion struct {
				CompletionItem struct {
					SnippetSupport        bool
					InsertTextModeSupport struct{ ValueSet []int }
				}
			}
		}
	}
}

type documentParams struct {
	TextDocument struct {
		URI        string `json:"uri"`
		LanguageID string `json:"languageId"`
		Version    int    `json:"version"`
		Text       string `json:"text"`
	} `json:"textDocument"`
	Position       position `json:"position"`
	Range          span     `json:"range"`
	ContentChanges []change `json:"contentChanges"`
	Context        struct {
		Only []string `json:"only"`
	} `json:"context"`
}

// change is new text in place of the text in a range, or of all text.
type change struct {
	Range *span  `json:"range"`
	Text  string `json:"text"`
}

// Severities.
const (
	severityError       = 1
	severityInformation = 3
)

type diagnostic struct {
	Range    span   `json:"range"`
	Severity int    `json:"severity"`
	Source   string `json:"source"`
	Message  string `json:"message"`
}

type publishParams struct {
	URI         string       `json:"uri"`
	Version     int          `json:"version"`
	Diagnostics []diagnostic `json:"diagnostics"`
}

// Kinds of completions.
const (
	completeValue     = 12
	completeEnum      = 13
	completeProperty  = 10
	completeReference = 18
)

type completionItem struct {
	Label            string    `json:"label"`
	Kind             int       `json:"kind"`
	Detail           string    `json:"detail,omitempty"`
	Documentation    *markup   `json:"documentation,omitempty"`
	SortText         string    `json:"sortText,omitempty"`
	FilterText       string    `json:"filterText,omitempty"`
	InsertTextFormat int       `json:"insertTextFormat,omitempty"` // 2 for a snippet
	InsertTextMode   int       `json:"insertTextMode,omitempty"`   // 1 for text that is indented already
	TextEdit         *textEdit `json:"textEdit"`
}

type completionList struct {
	IsIncomplete bool             `json:"isIncomplete"`
	Items        []completionItem `json:"items"`
}

type hover struct {
	Contents *markup `json:"contents"`
	Range    *span   `json:"range,omitempty"`
}

type codeAction struct {
	Title       string        `json:"title"`
	Kind        string        `json:"kind"`
	Diagnostics []diagnostic  `json:"diagnostics,omitempty"`
	IsPreferred bool          `json:"isPreferred,omitempty"`
	Edit        workspaceEdit `json:"edit"`
}

type workspaceEdit struct {
	Changes map[string][]textEdit `json:"changes"`
}

// Kinds of symbols.
const (
	symbolNamespace = 3
	symbolClass     = 5
	symbolProperty  = 7
)

type documentSymbol struct {
	Name           string           `json:"name"`
	Detail         string           `json:"detail,omitempty"`
	Kind           int              `json:"kind"`
	Range          span             `json:"range"`
	SelectionRange span             `json:"selectionRange"`
	Children       []documentSymbol `json:"children,omitempty"`
}

// capabilities are what the server offers.
var capabilities = json.RawMessage(`{
	"textDocumentSync": {"openClose": true, "change": 2, "save": true},
	"completionProvider": {"triggerCharacters": [":", " ", "-", "[", "{", ",", "*"]},
	"hoverProvider": true,
	"definitionProvider": true,
	"documentSymbolProvider": true,
	"codeActionProvider": {"codeActionKinds": ["quickfix"]},
	"positionEncoding": "utf-16"
}`)

// watchFiles asks the editor to tell when a YAML file changes that it has not opened.
var watchFiles = json.RawMessage(`{"registrations": [{"id": "files", "method": "workspace/didChangeWatchedFiles",
	"registerOptions": {"watchers": [{"globPattern": "**/*.{yaml,yml}"}]}}]}`)
