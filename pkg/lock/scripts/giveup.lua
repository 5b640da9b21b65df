-- Removes the keeps of a waiter that gives up, and wakes the waiters of those locks that are free.
--
-- KEYS[1 .. n]       the locks
-- KEYS[n+1 .. 2n]    their keeps
-- ARGV[1]            the owner
-- ARGV[2]            the channel on which the names of freed locks are published
--
-- Returns how many keeps were the owner's.
local n, removed = #KEYS / 2, 0
for i = 1, n do
  local keep = redis.call("GET", KEYS[n + i])
  if keep and string.match(keep, "^%d+:(.*)$") == ARGV[1] then
    redis.call("DEL", KEYS[n + i])
    removed = removed + 1
    if redis.call("EXISTS", KEYS[i]) == 0 then redis.call("PUBLISH", ARGV[2], KEYS[i]) end
  end
end
return removed
