-- Begins an epoch, shut, with an empty log and without any replica's number. Calls in older epochs are refused from now on.
-- ARGV[5] how many s from now orders may be known to MySQL alone, 0 never
-- returns ok id (of the entry with which the log begins) | old epoch
local was = redis.call('HGET', meta, 'epoch')
if was and tonumber(was) >= tonumber(ARGV[2]) then return {'old', was} end
redis.call('DEL', meta, log)
local now = tonumber(redis.call('TIME')[1])
redis.call('HSET', meta, 'epoch', ARGV[2], 'open', '0')
if ARGV[5] ~= '0' then redis.call('HSET', meta, 'check_until', now + tonumber(ARGV[5])) end
return {'ok', redis.call('XADD', log, '*', 'o', 'begin', 'n', '', 'h', '', 'l', '', 'm', '')}
