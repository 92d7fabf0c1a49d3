// Opens a faulty manifest with yaml-language-server and the schema, as docs/editors.md says, and prints what it answers.
const { spawn } = require('child_process');
const fs = require('fs');
const path = require('path');

const program = path.join(process.env.YAML_LANGUAGE_SERVER, 'node_modules/yaml-language-server/bin/yaml-language-server');
const server = spawn('node', [program, '--stdio'], { stdio: ['pipe', 'pipe', 'inherit'] });
const waiting = new Map();
let published = () => {};
let ids = 0;
let received = Buffer.alloc(0);

function send(message) {
  const body = JSON.stringify({ jsonrpc: '2.0', ...message });
  server.stdin.write(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}

function take(message) {
  if (message.method === 'textDocument/publishDiagnostics') {
    published(message.params.diagnostics);
  } else if (message.method === 'workspace/configuration') {
    send({ id: message.id, result: message.params.items.map(() => ({})) });
  } else if (message.method !== undefined && message.id !== undefined) {
    send({ id: message.id, result: null });
  } else if (waiting.has(message.id)) {
    waiting.get(message.id)(message.result);
    waiting.delete(message.id);
  }
}

server.stdout.on('data', (data) => {
  received = Buffer.concat([received, data]);
  for (;;) {
    const end = received.indexOf('\r\n\r\n');
    if (end < 0) return;
    const length = Number(/Content-Length: (\d+)/i.exec(received.subarray(0, end))[1]);
    if (received.length < end + 4 + length) return;
    const body = received.subarray(end + 4, end + 4 + length);
    received = received.subarray(end + 4 + length);
    take(JSON.parse(body));
  }
});

const ask = (method, params) => new Promise((resolve) => {
  waiting.set(++ids, resolve);
  send({ id: ids, method, params });
});

async function main() {
  await ask('initialize', {
    processId: process.pid, rootUri: `file://${process.cwd()}`,
    capabilities: { textDocument: { completion: { completionItem: { snippetSupport: true } }, hover: { contentFormat: ['markdown'] } } },
  });
  send({ method: 'initialized', params: {} });
  const settings = { yaml: { validate: true, hover: true, completion: true, schemas: {} } };
  send({ method: 'workspace/didChangeConfiguration', params: { settings } });

  const uri = `file://${process.cwd()}/shop.yaml`;
  const head = '# yaml-language-server: $schema=./argosy.schema.json\n';
  let text = head + fs.readFileSync('shop.yaml', 'utf8');
  const checked = new Promise((resolve) => { published = (list) => { if (list.length > 0) resolve(list); }; });
  send({ method: 'textDocument/didOpen', params: { textDocument: { uri, languageId: 'yaml', version: 1, text } } });
  for (const d of await checked) {
    console.log('fault', `${d.range.start.line + 1}:${d.range.start.character + 1}`, d.message.replace(/\n/g, ' | '));
  }

  const place = (word, column) => ({ textDocument: { uri }, position: { line: text.split('\n').findIndex((l) => l.includes(word)), character: column } });
  const hover = await ask('textDocument/hover', place('pull_policy', 6));
  console.log('hover', hover.contents.value.replace(/\n/g, ' | '));
  for (const item of (await ask('textDocument/completion', place('pull_policy', 17))).items) console.log('offered', item.label);

  text = text.replace('    imge: httpd:2.4', '    image: httpd:2.4\n    sto');
  send({ method: 'textDocument/didChange', params: { textDocument: { uri, version: 2 }, contentChanges: [{ text }] } });
  for (const item of (await ask('textDocument/completion', place('    sto', 7))).items) console.log('offered', item.label);
  process.exit(0);
}

main();
