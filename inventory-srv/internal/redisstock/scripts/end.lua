-- Confirms or releases an order. Units that are given back while their SKU is closed, or not here, go to the store room, by way
-- of the entry.
-- ARGV[4] confirm or release  ARGV[5] order number
-- ARGV[6] 1: MySQL does not know the order either: a release writes its tombstone here
-- ARGV[7] how long the tombstone stays, in s
-- returns ok seq net id m (m 1: units are on their way to the store room, until id is followed) | closed | confirmed
--         | unknown (ask MySQL first) | buried (the tombstone is here; MySQL's is the caller's to write) | lost | epoch | shut
local no = refusal()
if no then return no end
local key = prefix .. 'order:' .. ARGV[5]
local o = redis.call('HMGET', key, 's', 'l', 'h', 'e', 'm')
local status, lines = o[1], o[2]
if not status then
  if ARGV[4] == 'confirm' or ARGV[6] ~= '1' then return {'unknown'} end
  redis.call('HSET', key, 's', 'void', 'h', '', 'l', '', 'e', '')
  redis.call('EXPIRE', key, ARGV[7])
  return {'buried'}
end
if ARGV[4] == 'confirm' then
  if status == 'confirmed' then return {'ok', '0', '0', '', '0'} end
  if status ~= 'reserved' then return {'closed'} end
  local id = append('confirm', ARGV[5], o[3], lines, '', 0)
  redis.call('HSET', key, 's', 'confirmed', 'e', id)
  redis.call('PERSIST', key) -- until MySQL has followed, nobody else knows
  return {'ok', tostring(seq), tostring(net), id, '0'}
end
if status == 'confirmed' then return {'confirmed'} end
if status == 'void' then return {'buried'} end
if status ~= 'reserved' then return {'ok', '0', '0', o[4] or '', o[5] or '0'} end
local rooms, units = {}, 0
for sku, quantity in string.gmatch(lines, '([^ ;]+) (%d+) %d+') do
  local stock = prefix .. 'stock:' .. sku
  local c = redis.call('HMGET', stock, 'a', 'closed')
  if not c[1] or c[2] == '1' then
    rooms[#rooms + 1] = sku
  else
    redis.call('HINCRBY', stock, 'a', quantity)
  end
  units = units + tonumber(quantity)
end
local m = #rooms > 0 and '1' or '0'
local id = append('release', ARGV[5], o[3], lines, table.concat(rooms, ';'), -units)
redis.call('HSET', key, 's', 'released', 'e', id, 'm', m)
redis.call('PERSIST', key)
return {'ok', tostring(seq), tostring(net), id, m}
