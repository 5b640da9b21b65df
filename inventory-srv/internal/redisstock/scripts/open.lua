-- Opens the epoch that was filled, unless it has lost something since.
-- returns ok | epoch | lost
local m = redis.call('HMGET', meta, 'epoch', 'why')
if m[1] ~= ARGV[2] then return {'epoch', m[1] or ''} end
if m[2] then return {'lost', m[2]} end
redis.call('HSET', meta, 'open', '1')
return {'ok'}
