-- Reads the entries that follow the last one that MySQL has applied. That one must be here: a log without it is not the log
-- from which it came.
-- ARGV[4] id of the last applied entry  ARGV[5] how many  ARGV[6] 1: also from a log that is shut, to save what it has
-- returns ok, then id and fields of each entry | lost why | epoch which | shut
local m = redis.call('HMGET', meta, 'epoch', 'open', 'why')
if not m[1] then return {'lost', 'no epoch'} end
if m[1] ~= ARGV[2] then return {'epoch', m[1]} end
if ARGV[6] ~= '1' and m[3] then return {'lost', m[3]} end
if ARGV[6] ~= '1' and m[2] ~= '1' then return {'shut'} end
if #redis.call('XRANGE', log, ARGV[4], ARGV[4]) == 0 then return {'lost', 'entry ' .. ARGV[4] .. ' was applied and is not here'} end
local answer = {'ok'}
for _, entry in ipairs(redis.call('XRANGE', log, '(' .. ARGV[4], '+', 'COUNT', ARGV[5])) do
  answer[#answer + 1] = entry[1]
  for i = 2, #entry[2], 2 do answer[#answer + 1] = entry[2][i] end
end
return answer
