-- Says whether the log is the one that MySQL has followed so far: then the last entry that was applied is in it.
-- ARGV[5] id of the last applied entry  ARGV[6] 1: also of a log that is shut, to save what it has
-- returns ok | lost why | epoch which | shut
local m = redis.call('HMGET', meta, 'epoch', 'open', 'why')
if not m[1] then return {'lost', 'no epoch'} end
if m[1] ~= ARGV[2] then return {'epoch', m[1]} end
if ARGV[6] ~= '1' and m[3] then return {'lost', m[3]} end
if ARGV[6] ~= '1' and m[2] ~= '1' then return {'shut'} end
if #redis.call('XRANGE', log, ARGV[5], ARGV[5]) == 0 then return {'lost', 'entry ' .. ARGV[5] .. ' was applied and is not here'} end
return {'ok'}
