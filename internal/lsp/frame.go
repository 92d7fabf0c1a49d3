package lsp

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	// maxMessage bounds one message: a manifest of the largest size, with everything in it escaped.
	maxMessage = 32 << 20
	// maxHeader bounds the lines in front of a message, and each of them.
	maxHeader = 1 << 10
)

// message is a request, a notification (without an id), or an answer (without a method).
type message struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *rpcError       `json:"error,omitempty"`
}

// rpcError is an error as the protocol has it.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return e.Message }

// Codes of the protocol.
const (
	codeParse            = -32700
	codeInvalidRequest   = -32600
	codeMethodNotFound   = -32601
	codeInvalidParams    = -32602
	codeNotInitialized   = -32002
	codeRequestCancelled = -32800
)

// errFrame is what is wrong with a message whose end is known, so that the next one can be read.
type errFrame struct{ rpcError }

// readMessage reads one message. An [errFrame] leaves the reader at the next one; after any other error it is of no more
// use. io.EOF is the end between two messages.
func readMessage(in *bufio.Reader) (*message, error) {
	length, err := readHeader(in)
	if err != nil {
		return nil, err
	}
	if length > maxMessage {
		if _, err := io.CopyN(io.Discard, in, length); err != nil {
			return nil, fmt.Errorf("a message of %d bytes breaks off: %w", length, err)
		}
		return nil, &errFrame{rpcError{codeInvalidRequest, fmt.Sprintf("a message of %d bytes is too large; %d are allowed", length, maxMessage)}}
	}
	// What is announced may never come: memory is taken as it does.
	body, err := io.ReadAll(io.LimitReader(in, length))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) < length {
		return nil, fmt.Errorf("a message of %d bytes breaks off after %d: %w", length, len(body), io.ErrUnexpectedEOF)
	}
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, &errFrame{rpcError{codeParse, "a message is not what JSON-RPC has: " + err.Error()}}
	}
	if m.Version != "2.0" {
		return nil, &errFrame{rpcError{codeInvalidRequest, "a message does not say \"jsonrpc\": \"2.0\""}}
	}
	return &m, nil
}

// readHeader reads the lines in front of a message.
func readHeader(in *bufio.Reader) (length int64, err error) {
	length = -1
	for n := 0; ; n++ {
		line, err := readLine(in)
		switch {
		case errors.Is(err, io.EOF) && line == "" && n == 0:
			return 0, io.EOF
		case err != nil:
			return 0, fmt.Errorf("the lines in front of a message break off: %w", err)
		case line == "" && length >= 0:
			return length, nil
		case line == "":
			return 0, errors.New("a message has no Content-Length in front of it")
		case n == 16:
			return 0, errors.New("too many lines stand in front of a message")
		}
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(strings.TrimSpace(name), "Content-Length") {
			length, err = strconv.ParseInt(strings.TrimSpace(value), 10, 32)
			if err != nil || length < 0 {
				return 0, fmt.Errorf("%q is not the length of a message", clip(strings.TrimSpace(value)))
			}
		}
	}
}

func readLine(in *bufio.Reader) (string, error) {
	var line []byte
	for {
		c, err := in.ReadByte()
		if err != nil {
			return string(line), err
		}
		if c == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		if len(line) == maxHeader {
			return "", fmt.Errorf("a line in front of a message has more than %d bytes", maxHeader)
		}
		line = append(line, c)
	}
}

func clip(s string) string {
	const most = 60
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// writeMessage writes one message.
func writeMessage(out io.Writer, m *message) error {
	m.Version = "2.0"
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	frame := append([]byte("Content-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"), body...)
	_, err = out.Write(frame)
	return err
}
