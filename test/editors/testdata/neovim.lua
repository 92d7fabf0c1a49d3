-- Opens a faulty manifest with `argosy lsp`, as docs/editors.md says, and prints what Neovim then has.
local function say(...) io.stdout:write(table.concat({ ... }, ' ') .. '\n') end
local function line(text) return (text:gsub('\n', ' | ')) end

vim.o.swapfile = false
vim.cmd('edit shop.yaml')
local id = vim.lsp.start_client({ name = 'argosy', cmd = { os.getenv('ARGOSY'), 'lsp' }, root_dir = vim.fn.getcwd() })
vim.lsp.buf_attach_client(0, id)

local function faults(word, enough)
  vim.wait(10000, function() return enough(#vim.diagnostic.get(0)) end, 20)
  for _, d in ipairs(vim.diagnostic.get(0)) do
    say(word, (d.lnum + 1) .. ':' .. (d.col + 1) .. '-' .. (d.end_col + 1), line(d.message))
  end
end

local function ask(method, row, column)
  local params = { textDocument = vim.lsp.util.make_text_document_params(), position = { line = row - 1, character = column - 1 } }
  local answers = vim.lsp.buf_request_sync(0, method, params, 10000)
  return answers and answers[id] and answers[id].result
end

faults('fault', function(n) return n > 0 end)
say('hover', line(ask('textDocument/hover', 6, 6).contents.value))
for _, item in ipairs(ask('textDocument/completion', 6, 18).items) do say('offered', item.label) end

vim.api.nvim_buf_set_lines(0, 4, 5, false, { '    image: httpd:2.4', '    sto' })
for _, item in ipairs(ask('textDocument/completion', 6, 8).items) do say('offered', item.label) end

vim.api.nvim_buf_set_lines(0, 5, 8, false, {})
faults('left', function(n) return n == 3 end)
vim.cmd('qa!')
