-- Confirms or releases an order. Units that are given back while their SKU is closed, or not here, become unallocated stock, by way
-- of the entry.
-- ARGV[5] confirm or release  ARGV[6] order number
-- ARGV[7] 1: MySQL does not know the order either: a release writes its tombstone here
-- ARGV[8] how long the tombstone stays, in s
-- returns ok number id lines m (m 1: units are unallocated stock when id is followed) | closed | confirmed
--         | unknown (ask MySQL first) | tombstone (the tombstone is here; MySQL's is the caller's to write) | lost | epoch | shut
local no = refusal()
if no then return no end
local key = prefix .. 'order:' .. ARGV[6]
local o = redis.call('HMGET', key, 's', 'l', 'h', 'e', 'm')
local status, lines = o[1], o[2]
if not status then
  if ARGV[5] == 'confirm' or ARGV[7] ~= '1' then return {'unknown'} end
  redis.call('HSET', key, 's', 'void', 'h', '', 'l', '', 'e', '')
  redis.call('EXPIRE', key, ARGV[8])
  return {'tombstone'}
end
if ARGV[5] == 'confirm' then
  if status == 'confirmed' then
    local n, id = repeated(key, o[4])
    return {'ok', n, id, lines, '0'}
  end
  if status ~= 'reserved' then return {'closed'} end
  local n, id = append('confirm', ARGV[6], o[3], lines, '')
  redis.call('HSET', key, 's', 'confirmed', 'e', id)
  redis.call('PERSIST', key) -- until MySQL has followed, nobody else knows
  return {'ok', n, id, lines, '0'}
end
if status == 'confirmed' then return {'confirmed'} end
if status == 'void' then return {'tombstone'} end
if status ~= 'reserved' then
  local n, id = repeated(key, o[4])
  return {'ok', n, id, lines, o[5] or '0'}
end
local rooms = {}
for sku, quantity in string.gmatch(lines, '([^ ;]+) (%d+) %d+') do
  local stock = prefix .. 'stock:' .. sku
  local c = redis.call('HMGET', stock, 'a', 'closed')
  if not c[1] or c[2] == '1' then
    rooms[#rooms + 1] = sku
  else
    redis.call('HINCRBY', stock, 'a', quantity)
  end
end
local m = #rooms > 0 and '1' or '0'
local n, id = append('release', ARGV[6], o[3], lines, table.concat(rooms, ';'))
redis.call('HSET', key, 's', 'released', 'e', id, 'm', m)
redis.call('PERSIST', key)
return {'ok', n, id, lines, m}
