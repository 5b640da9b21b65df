-- Forgets what MySQL has followed: entries at once, but for the last, and orders after a while.
-- ARGV[5] id of the last applied entry  ARGV[6] how long orders stay, in s  ARGV[7…] order number, id of its entry, for each
-- returns ok | epoch
if redis.call('HGET', meta, 'epoch') ~= ARGV[2] then return {'epoch'} end
for i = 7, #ARGV, 2 do
  local key = prefix .. 'order:' .. ARGV[i]
  -- An order that has gone on since has an entry that is not followed yet.
  if redis.call('HGET', key, 'e') == ARGV[i + 1] then redis.call('EXPIRE', key, ARGV[6]) end
end
redis.call('XTRIM', log, 'MINID', ARGV[5])
return {'ok'}
