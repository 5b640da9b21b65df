-- Forgets what MySQL has followed: entries at once, but for the last, and orders after a while.
-- ARGV[4] id of the last applied entry  ARGV[5] how long orders stay, in s  ARGV[6…] order number, id of its entry, for each
-- returns ok | epoch
if redis.call('HGET', meta, 'epoch') ~= ARGV[2] then return {'epoch'} end
for i = 6, #ARGV, 2 do
  local key = prefix .. 'order:' .. ARGV[i]
  -- An order that has gone on since has an entry that is not followed yet.
  if redis.call('HGET', key, 'e') == ARGV[i + 1] then redis.call('EXPIRE', key, ARGV[5]) end
end
redis.call('XTRIM', log, 'MINID', ARGV[4])
return {'ok'}
