-- Writes counters of an epoch that is not open yet. Nobody else touches them: what is written here undoes no sale.
-- ARGV[5…] SKU, available, laid, opening, closed for each
-- returns ok | epoch | open
local m = redis.call('HMGET', meta, 'epoch', 'open')
if m[1] ~= ARGV[2] then return {'epoch', m[1] or ''} end
if m[2] ~= '0' then return {'open'} end
for i = 5, #ARGV, 5 do
  redis.call('HSET', prefix .. 'stock:' .. ARGV[i], 'a', ARGV[i + 1], 'laid', ARGV[i + 2], 'opening', ARGV[i + 3], 'closed', ARGV[i + 4])
end
return {'ok'}
