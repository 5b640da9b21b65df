-- Closes a SKU and sends its free units to the store room.
-- ARGV[4] SKU  ARGV[5] opening: who knows only older ones cannot open it again
-- returns ok seq net id (empty: there was nothing to send) | lost | epoch | shut
local no = refusal()
if no then return no end
local key = prefix .. 'stock:' .. ARGV[4]
local a = redis.call('HGET', key, 'a')
if not a then return lost('no counter for ' .. ARGV[4]) end
redis.call('HSET', key, 'closed', '1', 'opening', ARGV[5])
if a == '0' then return {'ok', '0', '0', ''} end
redis.call('HSET', key, 'a', '0')
local id = append('close', '', '', ARGV[4] .. ' ' .. a .. ' 0', ARGV[4], 0)
return {'ok', tostring(seq), tostring(net), id}
