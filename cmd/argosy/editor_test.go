package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// editor is a command of the scripts: an editor that starts `argosy lsp`, opens a file, prints what is wrong with it, and
// says goodbye. With `complete LINE:COLUMN` or `hover LINE:COLUMN` it also asks what can be or is there.
//
//	editor FILE [complete|hover LINE:COLUMN]
func editor() {
	if err := edit(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "editor:", err)
		os.Exit(1)
	}
}

func edit(args []string) error {
	path, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	cmd := exec.Command("argosy", "lsp", "--stdio")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	e := &editorSide{in: in, out: bufio.NewReader(out)}
	document := map[string]any{"uri": "file://" + path, "languageId": "yaml", "version": 1, "text": string(text)}
	if _, err := e.ask("initialize", map[string]any{"capabilities": map[string]any{}}); err != nil {
		return err
	}
	e.send(map[string]any{"method": "initialized", "params": map[string]any{}})
	e.send(map[string]any{"method": "textDocument/didOpen", "params": map[string]any{"textDocument": document}})
	published, err := e.next(func(m editorMessage) bool { return m.Method == "textDocument/publishDiagnostics" })
	if err != nil {
		return err
	}
	for _, d := range published.Params.Diagnostics {
		fmt.Printf("%d:%d: %s\n", d.Range.Start.Line+1, d.Range.Start.Character+1, d.Message)
	}
	if len(args) == 3 {
		if err := e.question(args[1], args[2], document); err != nil {
			return err
		}
	}
	if _, err := e.ask("shutdown", nil); err != nil {
		return err
	}
	e.send(map[string]any{"method": "exit"})
	return cmd.Wait()
}

type editorSide struct {
	in  io.Writer
	out *bufio.Reader
	id  int
}

type editorMessage struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
	Params struct {
		Diagnostics []struct {
			Range   struct{ Start struct{ Line, Character int } }
			Message string
		}
	} `json:"params"`
}

func (e *editorSide) send(m map[string]any) {
	m["jsonrpc"] = "2.0"
	body, _ := json.Marshal(m)
	fmt.Fprintf(e.in, "Content-Length: %d\r\n\r\n%s", len(body), body)
}

func (e *editorSide) ask(method string, params any) (editorMessage, error) {
	e.id++
	e.send(map[string]any{"id": e.id, "method": method, "params": params})
	m, err := e.next(func(m editorMessage) bool { return m.ID == e.id && m.Method == "" })
	if err == nil && m.Error != nil {
		err = fmt.Errorf("%s: %s", method, m.Error)
	}
	return m, err
}

func (e *editorSide) next(is func(editorMessage) bool) (editorMessage, error) {
	for {
		var m editorMessage
		header, err := e.out.ReadString('\n')
		if err != nil {
			return m, err
		}
		length, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(header, "Content-Length: ")))
		if err != nil {
			return m, err
		}
		body := make([]byte, length+2) // the empty line comes first
		if _, err := io.ReadFull(e.out, body); err != nil {
			return m, err
		}
		if err := json.Unmarshal(body, &m); err != nil {
			return m, err
		}
		if is(m) {
			return m, nil
		}
	}
}

// question asks about a place, as people count: from 1.
func (e *editorSide) question(what, place string, document map[string]any) error {
	var line, column int
	if _, err := fmt.Sscanf(place, "%d:%d", &line, &column); err != nil {
		return err
	}
	method := map[string]string{"complete": "textDocument/completion", "hover": "textDocument/hover"}[what]
	m, err := e.ask(method, map[string]any{"textDocument": document, "position": map[string]any{"line": line - 1, "character": column - 1}})
	if err != nil {
		return err
	}
	var found struct {
		Items    []struct{ Label string }
		Contents struct{ Value string }
	}
	if err := json.Unmarshal(m.Result, &found); err != nil {
		return err
	}
	for _, i := range found.Items {
		fmt.Println("offered:", i.Label)
	}
	if found.Contents.Value != "" {
		fmt.Println(found.Contents.Value)
	}
	return nil
}
