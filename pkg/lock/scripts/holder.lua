-- Reads the holder of a lock.
--
-- KEYS[1]    the lock
--
-- Returns {value, milliseconds left}, -1 when it never expires; {} when the lock is free.
local value = redis.call("GET", KEYS[1])
if not value then return {} end
return {value, redis.call("PTTL", KEYS[1])}
