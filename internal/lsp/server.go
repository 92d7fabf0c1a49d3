package lsp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// Options are what the server may ask its surroundings. The zero Options know no variables, read no files, and ask no
// cluster.
type Options struct {
	// LookupEnv and ReadFile are those of [manifest.Options].
	LookupEnv func(name string) (value string, ok bool)
	ReadFile  func(manifest, path string, limit int) ([]byte, error)
	// Secrets asks the cluster for the names of its secrets; nil when no cluster is to be asked. It is given little time.
	Secrets func() []string
	Version string
}

const (
	maxDocuments = 1000
	// waiting bounds how many messages are read ahead.
	waiting = 8
)

// server is one conversation.
type server struct {
	opts Options
	out  io.Writer

	initialized, shut bool
	snippets, asIs    bool // what the editor can do with completions
	watches           bool // it can be asked to watch files

	docs  map[string]*document // by URI
	dirty []*document          // to be checked, in order

	mu        sync.Mutex
	cancelled map[string]bool // ids of requests that nobody waits for; guarded by mu
}

// errExit is the end that the editor asked for.
var errExit = errors.New("exit")

// Serve speaks with an editor until it says exit or closes in. An editor that goes without saying goodbye is an error.
func Serve(ctx context.Context, in io.Reader, out io.Writer, opts Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{opts: opts, out: out, docs: map[string]*document{}, cancelled: map[string]bool{}}
	queue := make(chan incoming, waiting)
	go s.receive(ctx, bufio.NewReader(in), queue)
	for {
		var next incoming
		select {
		case next = <-queue:
		default:
			if len(s.dirty) > 0 {
				d := s.dirty[0]
				s.dirty = s.dirty[1:]
				if err := s.publish(d); err != nil {
					return err
				}
				continue
			}
			select {
			case next = <-queue:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		switch err := s.take(next); {
		case errors.Is(err, errExit) && s.shut:
			return nil
		case errors.Is(err, errExit):
			return errors.New("the editor said exit without shutdown")
		case err != nil:
			return err
		}
	}
}

// incoming is a message, or why there is none.
type incoming struct {
	m   *message
	err error
}

// receive reads messages until it cannot go on, and closes nothing: the main loop sees the error.
func (s *server) receive(ctx context.Context, in *bufio.Reader, queue chan<- incoming) {
	for {
		m, err := readMessage(in)
		if err == nil && m.Method == "$/cancelRequest" {
			s.cancel(m.Params)
			continue
		}
		select {
		case queue <- incoming{m, err}:
		case <-ctx.Done():
			return
		}
		var wrong *errFrame
		if err != nil && !errors.As(err, &wrong) {
			return
		}
	}
}

func (s *server) cancel(params json.RawMessage) {
	var p struct{ ID json.RawMessage }
	if json.Unmarshal(params, &p) != nil || len(p.ID) == 0 || len(p.ID) > maxHeader {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// A request that was answered already is cancelled in vain, and nothing takes its id out again.
	if len(s.cancelled) > 16*waiting {
		clear(s.cancelled)
	}
	s.cancelled[string(p.ID)] = true
}

func (s *server) isCancelled(id json.RawMessage) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.cancelled[string(id)]
	delete(s.cancelled, string(id))
	return was
}

// take does what a message asks for. An error ends the conversation.
func (s *server) take(in incoming) error {
	var wrong *errFrame
	switch {
	case errors.As(in.err, &wrong):
		return writeMessage(s.out, &message{ID: json.RawMessage("null"), Error: &wrong.rpcError})
	case errors.Is(in.err, io.EOF) && s.shut:
		return errExit
	case errors.Is(in.err, io.EOF):
		return errors.New("the editor closed the connection without saying exit")
	case in.err != nil:
		return in.err
	}
	m := in.m
	if m.Method == "" {
		return nil // an answer: that it watches files
	}
	if m.ID == nil {
		return s.notified(m)
	}
	if s.isCancelled(m.ID) {
		return writeMessage(s.out, &message{ID: m.ID, Error: &rpcError{codeRequestCancelled, "cancelled"}})
	}
	result, err := s.answer(m)
	if err != nil {
		var known *rpcError
		if !errors.As(err, &known) {
			known = &rpcError{codeInvalidParams, err.Error()}
		}
		return writeMessage(s.out, &message{ID: m.ID, Error: known})
	}
	text, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("the answer to %s: %w", m.Method, err)
	}
	return writeMessage(s.out, &message{ID: m.ID, Result: text})
}

func (s *server) notify(method string, params any) error {
	text, err := json.Marshal(params)
	if err != nil {
		return err
	}
	return writeMessage(s.out, &message{Method: method, Params: text})
}

// answer answers a request.
func (s *server) answer(m *message) (any, error) {
	switch {
	case m.Method == "initialize" && s.initialized:
		return nil, &rpcError{codeInvalidRequest, "the server is initialized already"}
	case m.Method == "initialize":
		return s.initialize(m.Params)
	case !s.initialized:
		return nil, &rpcError{codeNotInitialized, "the server is not initialized yet"}
	case s.shut:
		return nil, &rpcError{codeInvalidRequest, "the server is shut down"}
	case m.Method == "shutdown":
		s.shut = true
		return nil, nil
	}
	var p documentParams
	if len(m.Params) > 0 {
		if err := json.Unmarshal(m.Params, &p); err != nil {
			return nil, &rpcError{codeInvalidParams, "the parameters are not those of " + clip(m.Method) + ": " + err.Error()}
		}
	}
	handlers := map[string]func(*document) any{
		"textDocument/completion": func(d *document) any { return s.complete(d, p.Position) },
		"textDocument/hover": func(d *document) any {
			if !d.isManifest() {
				return nil
			}
			return s.hover(d, p.Position)
		},
		"textDocument/definition": func(d *document) any { return s.definition(d, p.Position) },
		"textDocument/documentSymbol": func(d *document) any {
			if !d.isManifest() {
				return []documentSymbol{}
			}
			return d.symbols()
		},
		"textDocument/codeAction": func(d *document) any {
			if len(p.Context.Only) > 0 && !slices.ContainsFunc(p.Context.Only, func(k string) bool { return k == "quickfix" || k == "" }) {
				return []codeAction{}
			}
			return s.fixes(d, p.Range)
		},
	}
	handle, ok := handlers[m.Method]
	if !ok {
		return nil, &rpcError{codeMethodNotFound, "the method " + clip(m.Method) + " is not known"}
	}
	d := s.docs[p.TextDocument.URI]
	if d == nil {
		return nil, &rpcError{codeInvalidParams, "the document " + clip(p.TextDocument.URI) + " is not open"}
	}
	return handle(d), nil
}

func (s *server) initialize(params json.RawMessage) (any, error) {
	var p initializeParams
	if err := json.Unmarshal(params, &p); err != nil {
		return nil, &rpcError{codeInvalidParams, "the parameters are not those of initialize: " + err.Error()}
	}
	item := p.Capabilities.TextDocument.Completion.CompletionItem
	s.initialized = true
	s.snippets, s.asIs = item.SnippetSupport, slices.Contains(item.InsertTextModeSupport.ValueSet, 1)
	s.watches = p.Capabilities.Workspace.DidChangeWatchedFiles.DynamicRegistration
	return map[string]any{"capabilities": capabilities, "serverInfo": map[string]string{"name": "argosy", "version": s.opts.Version}}, nil
}

// notified takes a notification. What is wrong with one cannot be answered, and is passed over.
func (s *server) notified(m *message) error {
	if m.Method == "exit" {
		return errExit
	}
	if !s.initialized || s.shut {
		return nil
	}
	var p documentParams
	if len(m.Params) > 0 && json.Unmarshal(m.Params, &p) != nil {
		return nil
	}
	uri := p.TextDocument.URI
	d := s.docs[uri]
	switch m.Method {
	case "initialized":
		if s.watches {
			return writeMessage(s.out, &message{ID: json.RawMessage(`"watch"`), Method: "client/registerCapability", Params: watchFiles})
		}
	case "textDocument/didOpen":
		if d == nil && len(s.docs) == maxDocuments {
			return nil
		}
		d = newDocument(uri, p.TextDocument.LanguageID, p.TextDocument.Text)
		d.version = p.TextDocument.Version
		s.docs[uri] = d
		s.changed(d)
	case "textDocument/didChange":
		if d == nil {
			return nil
		}
		for _, c := range p.ContentChanges {
			d.apply(c)
		}
		d.version = p.TextDocument.Version
		s.changed(d)
	case "textDocument/didClose":
		if d == nil {
			return nil
		}
		delete(s.docs, uri)
		s.dirty = slices.DeleteFunc(s.dirty, func(o *document) bool { return o == d })
		s.changed(nil)
		return s.notify("textDocument/publishDiagnostics", publishParams{uri, d.version, []diagnostic{}})
	case "textDocument/didSave", "workspace/didChangeWatchedFiles":
		// Files that manifests name may be others now.
		for _, d := range s.sortedDocs() {
			s.note(d)
		}
	}
	return nil
}

// changed notes what has to be checked: the document, and those that say that they are of an app with others.
func (s *server) changed(d *document) {
	if d != nil {
		s.note(d)
	}
	for _, other := range s.sortedDocs() {
		if other != d && len(other.companions()) > 0 {
			s.note(other)
		}
	}
}

// note has a document checked once no message waits.
func (s *server) note(d *document) {
	if !slices.Contains(s.dirty, d) {
		s.dirty = append(s.dirty, d)
	}
}

func (s *server) sortedDocs() []*document {
	out := make([]*document, 0, len(s.docs))
	for _, d := range s.docs {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b *document) int { return strings.Compare(a.uri, b.uri) })
	return out
}

// secrets are the names of secrets that the app uses, and those that the cluster has.
func (s *server) secrets(docs []*document) []string {
	var out []string
	if s.opts.Secrets != nil {
		out = s.opts.Secrets()
	}
	for _, d := range docs {
		for _, c := range declarations([]*document{d}, aContainer) {
			for _, item := range c.node.Child("secrets").Items() {
				name := item.Text.Value
				if source := item.Child("source"); source != nil {
					name = source.Text.Value
				}
				if name != "" && !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
		}
	}
	return out
}
