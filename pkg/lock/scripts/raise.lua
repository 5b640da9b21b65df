-- Raises the fencing counter after Redis lost it; never lowers it.
--
-- KEYS[1]    the counter
-- ARGV[1]    the highest token that the resource has seen, at most 2^53
--
-- Returns 1 when the counter was raised, 0 when it had that value or a higher one.
local now = tonumber(redis.call("GET", KEYS[1]) or "0")
if now >= tonumber(ARGV[1]) then return 0 end
redis.call("SET", KEYS[1], ARGV[1])
return 1
