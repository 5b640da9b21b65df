-- Sets the time to live of all locks, or of none when one of them is no longer ours.
--
-- KEYS       the locks
-- ARGV[1]    the value that our attempt stored
-- ARGV[2]    time to live from now in milliseconds
--
-- Returns 1 when all were ours and are extended, 0 when one was absent or another owner's. An absent lock is never
-- created again: another owner may have held and released it in between.
for i = 1, #KEYS do
  if redis.call("GET", KEYS[i]) ~= ARGV[1] then return 0 end
end
for i = 1, #KEYS do
  redis.call("PEXPIRE", KEYS[i], ARGV[2])
end
return 1
