-- Deletes those locks that are still ours and wakes the waiters of each.
--
-- KEYS       the locks
-- ARGV[1]    the value that our attempt stored
-- ARGV[2]    the channel on which the names of freed locks are published
--
-- Returns 1 when all were ours, 0 when one was another owner's, else -1: one had expired.
local result = 1
for i = 1, #KEYS do
  local value = redis.call("GET", KEYS[i])
  if value == ARGV[1] then
    redis.call("DEL", KEYS[i])
    redis.call("PUBLISH", ARGV[2], KEYS[i])
  elseif value then
    result = 0
  elseif result == 1 then
    result = -1
  end
end
return result
