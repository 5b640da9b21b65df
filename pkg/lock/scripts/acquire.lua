-- Takes all of the locks or none of them, and draws a fencing token for each.
--
-- KEYS[1 .. n]        the locks
-- KEYS[n+1 .. 2n]     their token counters, in the same order; every name shares one hash tag, hence one Cluster slot.
-- KEYS[2n+1 .. 3n]    who is next. Without the counters and these no tokens are drawn and nobody is next
-- ARGV[1]             the value to store: owner .. ":" .. attempt
-- ARGV[2]             the owner, which all attempts of one acquisition share; it begins with the process
-- ARGV[3]             time to live in milliseconds
-- ARGV[4]             n
-- ARGV[5]             the process, if it will come back when it is refused, else empty
-- ARGV[6]             for how many milliseconds a free lock is kept for the one who is next
--
-- Returns {1, token 1, ..., token n} when all are held now, or {0, ms, value} when another owner holds one or is next: the
-- time that the longest such hold has left, -1 when its key never expires, and what it has stored.
--
-- A lock that an earlier attempt of the same owner took, whose answer was lost, is taken over with the token it drew.
local n, waiter, grace = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local fenced = #KEYS > n
local mine, holder, left = {}, nil, 0
local function refused(value, ms)
  if not holder or (left >= 0 and (ms < 0 or ms > left)) then
    holder, left = value, ms
  end
end
for i = 1, n do
  local value = redis.call("GET", KEYS[i])
  if value and string.sub(value, 1, #ARGV[2] + 1) == ARGV[2] .. ":" then
    mine[i] = true
  elseif value then
    local ms = redis.call("PTTL", KEYS[i])
    refused(value, ms)
    -- The first process that another one keeps waiting is next; for a while only, as either may vanish.
    if fenced and waiter ~= "" and string.sub(value, 1, #waiter) ~= waiter then
      redis.call("SET", KEYS[2 * n + i], waiter, "NX", "PX", (ms < 0 and tonumber(ARGV[3]) or ms) + grace)
    end
  elseif fenced and waiter ~= "" then
    local first = redis.call("GET", KEYS[2 * n + i])
    if first and first ~= waiter then refused(first, redis.call("PTTL", KEYS[2 * n + i])) end
  end
end
if holder then return {0, left, holder} end

-- Counters first: INCR can fail (a value that is no number), and then no lock must stay behind.
local reply = {1}
for i = 1, fenced and n or 0 do
  local token = mine[i] and tonumber(redis.call("GET", KEYS[n + i]))
  reply[i + 1] = token or redis.call("INCR", KEYS[n + i])
end
for i = 1, n do
  redis.call("SET", KEYS[i], ARGV[1], "PX", ARGV[3])
  if fenced and waiter ~= "" then redis.call("DEL", KEYS[2 * n + i]) end
end
return reply
