-- Takes all lines of an order or none, for many orders one after the other: what they have in common is looked at once.
-- ARGV[5] how many entries may wait for MySQL  ARGV[6] how many orders
-- and for each of them: order number, hash of the request, 1 if the caller has asked MySQL, which does not know the order, lines
-- "SKU quantity price;…", how many, then SKU and quantity for each of them
-- returns an answer for each order: ok number id lines | closed | mismatch | short SKU available … | away SKU (no counter here)
--         | unknown (ask MySQL first) | busy; or one for all: lost | epoch | shut
local no = refusal()
if no then return {no} end
local waiting = redis.call('XLEN', log)
local checking = check_until > 0 and check_until > tonumber(redis.call('TIME')[1])

local counters = {} -- by SKU, false for one that is not here
local function counter(sku)
  local c = counters[sku]
  if c == nil then
    local read = redis.call('HMGET', prefix .. 'stock:' .. sku, 'a', 'closed')
    c = read[1] and read[2] ~= '1' and {available = tonumber(read[1])} or false
    counters[sku] = c
  end
  return c
end

local function reserve(at, lines)
  local order, hash = ARGV[at], ARGV[at + 1]
  local key = prefix .. 'order:' .. order
  local o = redis.call('HMGET', key, 's', 'h', 'l', 'e')
  if o[1] then
    if o[1] == 'released' or o[1] == 'void' then return {'closed'} end
    if o[2] ~= hash then return {'mismatch'} end
    local n, id = repeated(key, o[4])
    return {'ok', n, id, o[3]}
  end
  if checking and ARGV[at + 2] == '0' then return {'unknown'} end
  if waiting > tonumber(ARGV[5]) then return {'busy'} end
  local short = {'short'}
  for i = at + 5, at + 3 + 2 * lines, 2 do
    local c, quantity = counter(ARGV[i]), tonumber(ARGV[i + 1])
    if not c then return {'away', ARGV[i]} end
    if c.available < quantity then
      short[#short + 1] = ARGV[i]
      short[#short + 1] = tostring(c.available)
    end
  end
  if #short > 1 then return short end
  for i = at + 5, at + 3 + 2 * lines, 2 do
    local c, quantity = counters[ARGV[i]], tonumber(ARGV[i + 1])
    c.available = c.available - quantity
    redis.call('HINCRBY', prefix .. 'stock:' .. ARGV[i], 'a', -quantity)
  end
  local n, id = append('reserve', order, hash, ARGV[at + 3], '')
  redis.call('HSET', key, 's', 'reserved', 'h', hash, 'l', ARGV[at + 3], 'e', id)
  waiting = waiting + 1
  return {'ok', n, id, ARGV[at + 3]}
end

local answers, at = {}, 7
for i = 1, tonumber(ARGV[6]) do
  local lines = tonumber(ARGV[at + 4])
  answers[i] = reserve(at, lines)
  at = at + 5 + 2 * lines
end
return answers
