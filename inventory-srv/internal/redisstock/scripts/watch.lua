-- Notices a loss for a replica that has nothing else to ask, which calls it every second. Counts of replicas that have not done so
-- for long are removed: their processes have ended. A replica that was stopped for so long takes that for a loss.
-- ARGV[5] after how long, in s  ARGV[6] how many fields meta may have before anything is removed
-- returns ok | lost | epoch | shut
local no = refusal()
if no then return no end
local now = tonumber(redis.call('TIME')[1])
redis.call('HSET', meta, 'at:' .. ARGV[3], now)
if redis.call('HLEN', meta) > tonumber(ARGV[6]) then
  local fields = redis.call('HGETALL', meta)
  for i = 1, #fields, 2 do
    local replica = string.match(fields[i], '^at:(.*)$')
    if replica and now - tonumber(fields[i + 1]) > tonumber(ARGV[5]) then redis.call('HDEL', meta, 'at:' .. replica, 'r:' .. replica) end
  end
end
return {'ok'}
