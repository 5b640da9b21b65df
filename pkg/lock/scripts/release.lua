-- Deletes those locks that are still ours and tells waiters of each.
--
-- KEYS[1 .. n]       the locks
-- KEYS[n+1 .. 2n]    who is next; may be missing
-- ARGV[1]            the value that our attempt stored
-- ARGV[2]            the channel on which the names of freed locks are published
-- ARGV[3]            n
-- ARGV[4]            for how many milliseconds a free lock is kept for the one who is next
--
-- Returns 1 when all were ours, 0 when one was somebody else's, else -1: one had expired.
local n, result = tonumber(ARGV[3]), 1
for i = 1, n do
  local value = redis.call("GET", KEYS[i])
  if value == ARGV[1] then
    redis.call("DEL", KEYS[i])
    if #KEYS > n then redis.call("PEXPIRE", KEYS[n + i], ARGV[4]) end
    redis.call("PUBLISH", ARGV[2], KEYS[i])
  elseif value then
    result = 0
  elseif result == 1 then
    result = -1
  end
end
return result
