-- Closes a SKU and returns its free units to unallocated stock.
-- ARGV[5] SKU  ARGV[6] opening: who knows only older ones cannot open it again
-- returns ok number id (empty: there was nothing to send) | lost | epoch | shut
local no = refusal()
if no then return no end
local key = prefix .. 'stock:' .. ARGV[5]
local a = redis.call('HGET', key, 'a')
if not a then return lost('no counter for ' .. ARGV[5]) end
redis.call('HSET', key, 'closed', '1', 'opening', ARGV[6])
if a == '0' then return {'ok', '0', ''} end
redis.call('HSET', key, 'a', '0')
return {'ok', append('close', '', '', ARGV[5] .. ' ' .. a .. ' 0', ARGV[5])}
