package lsp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// conversation is an editor's side: it speaks with a server over pipes.
type conversation struct {
	t     testing.TB
	in    io.WriteCloser
	out   *bufio.Reader
	ended chan error
	ids   int
	// published are the newest diagnostics of each document.
	published map[string]publishParams
}

const manifestURI = "file:///somewhere/shop.yaml"

// talk starts a server. With hello the conversation is initialized, by an editor that knows snippets.
func talk(t testing.TB, opts Options, hello bool) *conversation {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	c := &conversation{t: t, in: inW, out: bufio.NewReader(outR), ended: make(chan error, 1), published: map[string]publishParams{}}
	go func() {
		err := Serve(context.Background(), inR, outW, opts)
		_ = inR.Close()
		_ = outW.Close()
		c.ended <- err
	}()
	t.Cleanup(func() { _ = inW.Close(); _ = outR.Close() })
	if hello {
		c.ask("initialize", json.RawMessage(`{"capabilities": {"textDocument": {"completion": {"completionItem": {"snippetSupport": true, "insertTextModeSupport": {"valueSet": [1]}}}}}}`), nil)
		c.tell("initialized", struct{}{})
	}
	return c
}

func (c *conversation) send(m *message) {
	c.t.Helper()
	if err := writeMessage(c.in, m); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conversation) tell(method string, params any) {
	c.t.Helper()
	c.send(&message{Method: method, Params: marshalled(c.t, params)})
}

// ask waits for the answer, and reads it into result.
func (c *conversation) ask(method string, params, result any) *rpcError {
	c.t.Helper()
	c.ids++
	id := json.RawMessage(fmt.Sprint(c.ids))
	// The server may be writing diagnostics, and nobody else reads them.
	go c.send(&message{ID: id, Method: method, Params: marshalled(c.t, params)})
	m := c.next(func(m *message) bool { return string(m.ID) == string(id) && m.Method == "" })
	if m.Error == nil && result != nil {
		if err := json.Unmarshal(m.Result, result); err != nil {
			c.t.Fatalf("%s answers %s: %v", method, m.Result, err)
		}
	}
	return m.Error
}

// next reads messages up to the one that is waited for.
func (c *conversation) next(is func(*message) bool) *message {
	c.t.Helper()
	for {
		m, err := readMessage(c.out)
		if err != nil {
			c.t.Fatalf("the server said nothing more: %v", err)
		}
		if m.Method == "textDocument/publishDiagnostics" {
			var p publishParams
			if err := json.Unmarshal(m.Params, &p); err != nil {
				c.t.Fatal(err)
			}
			c.published[p.URI] = p
		}
		if is(m) {
			return m
		}
	}
}

// open opens a document and waits for what is wrong with it.
func (c *conversation) open(uri, language, text string) []diagnostic {
	c.t.Helper()
	c.tell("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": uri, "languageId": language, "version": 1, "text": text}})
	return c.diagnostics(uri, 1)
}

func (c *conversation) diagnostics(uri string, version int) []diagnostic {
	c.t.Helper()
	c.next(func(*message) bool { p, ok := c.published[uri]; return ok && p.Version >= version })
	return c.published[uri].Diagnostics
}

// bye ends the conversation as an editor does.
func (c *conversation) bye() {
	c.t.Helper()
	if err := c.ask("shutdown", nil, nil); err != nil {
		c.t.Fatal(err)
	}
	go io.Copy(io.Discard, c.out) //nolint:errcheck // diagnostics may still be on their way, and the server waits for a reader
	c.tell("exit", nil)
	if err := <-c.ended; err != nil {
		c.t.Errorf("the server ended with %v", err)
	}
}

func marshalled(t testing.TB, v any) json.RawMessage {
	if v == nil {
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func at(uri string, line, character int) map[string]any {
	return map[string]any{"textDocument": map[string]any{"uri": uri}, "position": position{line, character}}
}

func TestConversation(t *testing.T) {
	c := talk(t, Options{Version: "1.2.3"}, false)
	if err := c.ask("textDocument/hover", at(manifestURI, 0, 0), nil); err == nil || err.Code != codeNotInitialized {
		t.Errorf("before initialize: %v", err)
	}
	var hello struct {
		ServerInfo struct{ Name, Version string }
	}
	if err := c.ask("initialize", map[string]any{"capabilities": map[string]any{"workspace": map[string]any{"didChangeWatchedFiles": map[string]any{"dynamicRegistration": true}}}}, &hello); err != nil || hello.ServerInfo.Version != "1.2.3" {
		t.Errorf("initialize: %v %v", hello, err)
	}
	if err := c.ask("initialize", struct{}{}, nil); err == nil || err.Code != codeInvalidRequest {
		t.Errorf("initialize again: %v", err)
	}
	c.tell("initialized", struct{}{})
	c.next(func(m *message) bool { return m.Method == "client/registerCapability" })
	c.send(&message{ID: json.RawMessage(`"watch"`), Result: json.RawMessage("null")})
	if err := c.ask("textDocument/nonsense", struct{}{}, nil); err == nil || err.Code != codeMethodNotFound {
		t.Errorf("an unknown method: %v", err)
	}
	if err := c.ask("textDocument/hover", at(manifestURI, 0, 0), nil); err == nil || err.Code != codeInvalidParams {
		t.Errorf("a document that is not open: %v", err)
	}
	if err := c.ask("textDocument/hover", []int{1}, nil); err == nil || err.Code != codeInvalidParams {
		t.Errorf("wrong parameters: %v", err)
	}
	got := c.open(manifestURI, "yaml", "argosy: v1\napp: shop\ncontainers:\n  web: {imge: a}\n")
	if len(got) != 2 || got[1].Range != (span{position{3, 8}, position{3, 12}}) {
		t.Errorf("the faults are %+v", got)
	}
	c.tell("textDocument/didChange", map[string]any{"textDocument": map[string]any{"uri": manifestURI, "version": 2}, "contentChanges": []change{
		{Range: &span{position{3, 8}, position{3, 12}}, Text: "image"}, {Range: &span{position{4, 0}, position{4, 0}}, Text: "stacks: {s: {containers: [web]}}\ncluster: {s: 1}\n"}}})
	if got := c.diagnostics(manifestURI, 2); len(got) != 0 {
		t.Errorf("after the change: %+v", got)
	}
	c.tell("textDocument/didClose", at(manifestURI, 0, 0))
	if err := c.ask("shutdown", nil, nil); err != nil {
		t.Error(err)
	}
	if err := c.ask("textDocument/hover", at(manifestURI, 0, 0), nil); err == nil || err.Code != codeInvalidRequest {
		t.Errorf("after shutdown: %v", err)
	}
	go io.Copy(io.Discard, c.out) //nolint:errcheck // diagnostics may still be on their way, and the server waits for a reader
	c.tell("exit", nil)
	if err := <-c.ended; err != nil {
		t.Error(err)
	}
}

// TestOtherYAMLIsLeftAlone: a server gets every YAML file that is opened.
func TestOtherYAMLIsLeftAlone(t *testing.T) {
	c := talk(t, Options{}, true)
	const workflow = "file:///w/.github/workflows/ci.yaml"
	c.tell("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": workflow, "languageId": "yaml", "version": 1, "text": "on: push\njobs: {a: {steps: []}}\n"}})
	c.open(manifestURI, "yaml", "argosy: v1\n")
	if p, ok := c.published[workflow]; ok {
		t.Errorf("a workflow has faults: %+v", p)
	}
	var list completionList
	if err := c.ask("textDocument/completion", at(workflow, 0, 0), &list); err != nil || len(list.Items) != 0 {
		t.Errorf("a workflow is completed: %v %+v", err, list)
	}
	c.bye()
}

// TestLeaving: an editor that goes without a word is an error, and ends the server.
func TestLeaving(t *testing.T) {
	for name, leave := range map[string]func(c *conversation){
		"closed":            func(c *conversation) { _ = c.in.Close() },
		"exit without bye":  func(c *conversation) { c.tell("exit", nil) },
		"broken frame":      func(c *conversation) { _, _ = io.WriteString(c.in, "Content-Length: x\r\n\r\n") },
		"in the middle":     func(c *conversation) { _, _ = io.WriteString(c.in, "Content-Length: 10\r\n\r\n{"); _ = c.in.Close() },
		"no length":         func(c *conversation) { _, _ = io.WriteString(c.in, "\r\n") },
		"a header too long": func(c *conversation) { _, _ = io.WriteString(c.in, strings.Repeat("x", maxHeader+1)) },
	} {
		c := talk(t, Options{}, true)
		leave(c)
		if err := <-c.ended; err == nil {
			t.Errorf("%s: the server ended without an error", name)
		}
	}
}

// TestWrongMessages: what is not a message is answered, and the conversation goes on.
func TestWrongMessages(t *testing.T) {
	for _, body := range []string{"{", "[]", "[{}]", "null", `{"id": 1}`, `{"jsonrpc": "1.0", "id": 1, "method": "x"}`, strings.Repeat("[", 100_000), "\xff"} {
		c := talk(t, Options{}, true)
		go fmt.Fprintf(c.in, "Content-Length: %d\r\nX-Other: y\r\n\r\n%s", len(body), body)
		m := c.next(func(m *message) bool { return m.Error != nil })
		if string(m.ID) != "null" && m.ID != nil {
			t.Errorf("%s is answered with the id %s", clip(body), m.ID)
		}
		c.bye()
	}
}

func TestCancelled(t *testing.T) {
	s := &server{cancelled: map[string]bool{}, docs: map[string]*document{}, initialized: true}
	var out strings.Builder
	s.out = &out
	s.cancel(json.RawMessage(`{"id": 7}`))
	if err := s.take(incoming{m: &message{ID: json.RawMessage("7"), Method: "textDocument/hover"}}); err != nil || !strings.Contains(out.String(), fmt.Sprint(codeRequestCancelled)) {
		t.Errorf("it says %s, %v", out.String(), err)
	}
	for i := range 10_000 {
		s.cancel(json.RawMessage(fmt.Sprintf(`{"id": %d}`, i)))
	}
	if len(s.cancelled) > 1000 {
		t.Errorf("%d ids are kept", len(s.cancelled))
	}
	if err := s.take(incoming{err: errors.New("broken")}); err == nil {
		t.Error("a broken connection is no error")
	}
}
