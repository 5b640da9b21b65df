-- Brings a counter up to all units that were ever allocated for the SKU. Sums that only grow may come twice and in any order; an
-- absolute number, which is how caches are warmed up, would undo the sales in between.
-- ARGV[5] SKU  ARGV[6] laid  ARGV[7] opening  ARGV[8] 1: open it
-- ARGV[9] 1: nothing was ever taken from it, so that a counter that is not here has never been here
-- returns ok available | old (it was closed since) | lost | epoch | shut
local no = refusal()
if no then return no end
local key = prefix .. 'stock:' .. ARGV[5]
local c = redis.call('HMGET', key, 'a', 'laid', 'opening')
if not c[1] then
  if ARGV[9] ~= '1' then return lost('no counter for ' .. ARGV[5]) end
  redis.call('HSET', key, 'a', '0', 'laid', '0', 'opening', ARGV[7], 'closed', '1')
  c = {'0', '0', ARGV[7]}
end
local more = tonumber(ARGV[6]) - tonumber(c[2])
if more > 0 then
  redis.call('HINCRBY', key, 'a', more)
  redis.call('HSET', key, 'laid', ARGV[6])
end
if tonumber(ARGV[7]) < tonumber(c[3]) then return {'old'} end
if ARGV[8] == '1' then redis.call('HSET', key, 'closed', '0', 'opening', ARGV[7]) end
return {'ok', redis.call('HGET', key, 'a')}
