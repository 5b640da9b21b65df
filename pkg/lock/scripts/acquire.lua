-- Takes all of the locks or none of them, and draws a fencing token for each.
--
-- KEYS[1 .. n]       the locks
-- KEYS[n+1 .. 2n]    their token counters, in the same order; every name shares one hash tag, hence one Cluster slot.
--                    Without them no tokens are drawn
-- ARGV[1]            the value to store: owner .. ":" .. attempt
-- ARGV[2]            the owner, which all attempts of one acquisition share
-- ARGV[3]            time to live in milliseconds
-- ARGV[4]            n
--
-- Returns {1, token 1, ..., token n} when all are held now, or {0, ms, value} when another owner holds one: the time that
-- the longest such hold has left, -1 when its key never expires, and what it has stored.
--
-- A lock that an earlier attempt of the same owner took, whose answer was lost, is taken over with the token it drew.
local n = tonumber(ARGV[4])
local mine, holder, left = {}, nil, 0
for i = 1, n do
  local value = redis.call("GET", KEYS[i])
  if value then
    if string.sub(value, 1, #ARGV[2] + 1) == ARGV[2] .. ":" then
      mine[i] = true
    else
      local ms = redis.call("PTTL", KEYS[i])
      if not holder or (left >= 0 and (ms < 0 or ms > left)) then
        holder, left = value, ms
      end
    end
  end
end
if holder then return {0, left, holder} end

-- Counters first: INCR can fail (a value that is no number), and then no lock must stay behind.
local reply = {1}
for i = 1, #KEYS - n do
  local token = mine[i] and tonumber(redis.call("GET", KEYS[n + i]))
  reply[i + 1] = token or redis.call("INCR", KEYS[n + i])
end
for i = 1, n do
  redis.call("SET", KEYS[i], ARGV[1], "PX", ARGV[3])
end
return reply
