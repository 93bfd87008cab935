-- The lua5.4 workload: tables, closures, strings. Deterministic; prints what it computed.
local seed = 42
local function rnd(n) seed = (seed * 1103515245 + 12345) % 2147483648; return seed // 65536 % n end

local function tree(d) if d == 0 then return {} end return {tree(d - 1), tree(d - 1)} end
local function size(t) if not t[1] then return 1 end return 1 + size(t[1]) + size(t[2]) end
local long = tree(15)
local total = 0
for d = 4, 12, 2 do for _ = 1, 1 << (14 - d) do total = total + size(tree(d)) end end
print(size(long), total)

local count, words = {}, {}
for i = 1, 150000 do
  local w = string.char(97 + rnd(26), 97 + rnd(26), 97 + rnd(4)) .. rnd(40)
  count[w] = (count[w] or 0) + 1
  if i % 3 == 0 then words[#words + 1] = w end
end
table.sort(words)
print(#words, words[1], words[#words])

local queue, first = {}, 1
for i = 1, 300000 do
  queue[#queue + 1] = {id = i, name = "job" .. rnd(5000), run = function() return i end}
  if i > 3000 then total = total + queue[first].run(); queue[first] = false; first = first + 1 end
end
print(total)

local parts = {}
for i = 1, 20000 do parts[i] = ("%d:%s"):format(i, ("x"):rep(rnd(40))) end
local text = table.concat(parts, ",")
print(#text, select(2, text:gsub("(%d+):(x+)", function(n, x) return x .. n end)))
