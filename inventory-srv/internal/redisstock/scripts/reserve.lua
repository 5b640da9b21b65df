-- Takes all lines of an order or none.
-- ARGV[4] order number  ARGV[5] hash of the request  ARGV[6] how many entries may wait for MySQL
-- ARGV[7] 1: the caller has asked MySQL, which does not know the order
-- ARGV[8] lines "SKU quantity price;…"  ARGV[9…] SKU, quantity for each of them
-- returns ok seq net lines | closed | mismatch | short SKU available … | away SKU (no counter here) | unknown (ask MySQL first)
--         | busy | lost | epoch | shut
local no = refusal()
if no then return no end
local key = prefix .. 'order:' .. ARGV[4]
local o = redis.call('HMGET', key, 's', 'h', 'l')
if o[1] then
  if o[1] == 'released' or o[1] == 'void' then return {'closed'} end
  if o[2] ~= ARGV[5] then return {'mismatch'} end
  return {'ok', '0', '0', o[3]}
end
if ARGV[7] == '0' then
  local till = redis.call('HGET', meta, 'check_until')
  if till and tonumber(till) > tonumber(redis.call('TIME')[1]) then return {'unknown'} end
end
if redis.call('XLEN', log) > tonumber(ARGV[6]) then return {'busy'} end
local short, units = {'short'}, 0
for i = 9, #ARGV, 2 do
  local c = redis.call('HMGET', prefix .. 'stock:' .. ARGV[i], 'a', 'closed')
  if not c[1] or c[2] == '1' then return {'away', ARGV[i]} end
  local quantity = tonumber(ARGV[i + 1])
  if tonumber(c[1]) < quantity then
    short[#short + 1] = ARGV[i]
    short[#short + 1] = c[1]
  end
  units = units + quantity
end
if #short > 1 then return short end
for i = 9, #ARGV, 2 do
  redis.call('HINCRBY', prefix .. 'stock:' .. ARGV[i], 'a', -tonumber(ARGV[i + 1]))
end
local id, seq, net = append('reserve', ARGV[4], ARGV[5], ARGV[8], '', units)
redis.call('HSET', key, 's', 'reserved', 'h', ARGV[5], 'l', ARGV[8], 'e', id)
return {'ok', tostring(seq), tostring(net), ARGV[8]}
