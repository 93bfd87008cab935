"""Lua 5.4 as a text tool: splits prose into words, counts and sorts them, encodes tables into text and parses that back,
runs closures from a queue. Every table, string and closure is a realloc through Lua's one allocator function."""

from ._data import Prose, write

NEEDS = {"lua5.4": "lua5.4"}
ENV = {"LUA_INIT": "", "LUA_INIT_5_4": ""}
COMMAND = ["lua5.4", "{inputs}/program.lua", "{inputs}/prose.txt"]

PROGRAM = '''
local file = assert(io.open(arg[1]))
local text = file:read("a")
file:close()

local count, order = {}, {}
for word in text:gmatch("%a+") do
  if not count[word] then order[#order + 1] = word end
  count[word] = (count[word] or 0) + 1
end
table.sort(order, function(a, b) return count[a] > count[b] or count[a] == count[b] and a < b end)
print(#order, order[1], count[order[1]], order[#order])

local function encode(value)
  if type(value) ~= "table" then return type(value) == "string" and ("%q"):format(value) or tostring(value) end
  local parts = {}
  for i, item in ipairs(value) do parts[i] = encode(item) end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function decode(source, at)
  local first = source:sub(at, at)
  if first == '"' then
    local stop = source:find('"', at + 1, true)
    return source:sub(at + 1, stop - 1), stop + 1
  elseif first ~= "[" then
    local digits = source:match("^%d+", at)
    return tonumber(digits), at + #digits
  end
  local list = {}
  at = at + 1
  while source:sub(at, at) ~= "]" do
    list[#list + 1], at = decode(source, at)
    if source:sub(at, at) == "," then at = at + 1 end
  end
  return list, at + 1
end

local lines, number = {}, 0
for line in text:gmatch("[^\\n]+") do
  local row = {}
  for word in line:gmatch("%S+") do
    number = number + 1
    row[#row + 1] = number % 3 == 0 and {word, number} or number % 3 == 1 and word or number
  end
  lines[#lines + 1] = row
end
local first = encode(lines)
local again = encode((decode(first, 1)))
print(#lines, #first, first == again)

local queue, head, sum = {}, 1, 0
for i = 1, 300000 do
  local word = order[i % #order + 1]
  queue[i] = {id = i, name = word .. i % 5000, run = function(n) return count[word] + i % n end}
  if i > 3000 then
    sum = sum + queue[head].run(17) + #queue[head].name
    queue[head] = false
    head = head + 1
  end
end
print(sum)
local loud = text:gsub("%a+", function(word) return count[word] > 20 and word:upper() end)
print(#text:gsub("(%a+) (%a+)", "%2 %1"), select(2, loud:gsub("%u", "")))
'''


def inputs(folder):
    prose = Prose(2)
    write(folder, "program.lua", PROGRAM)
    write(folder, "prose.txt", "".join(prose.text(12) + "\n" for _ in range(9000)))
