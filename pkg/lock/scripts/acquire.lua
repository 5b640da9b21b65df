-- Takes all of the locks or none of them, and draws one fencing token for all of them.
--
-- KEYS[1 .. n]         the locks
-- KEYS[n+1]            the fencing counter; every name shares one hash tag, hence one Cluster slot
-- KEYS[n+2]            the ticket counter
-- KEYS[n+3 .. 2n+2]    the keeps, one for each lock: ticket .. ":" .. owner of the waiter for which a lock is kept
-- KEYS[2n+3 .. 3n+2]   the counters of an older version, one for each lock; absent when the Locker has checked them
-- With the locks alone (Redlock) no token is drawn and nothing is kept.
-- ARGV[1]              the value to store: owner .. ":" .. attempt [.. ":" .. metadata]
-- ARGV[2]              the owner, which all attempts of one acquisition share
-- ARGV[3]              time to live in milliseconds
-- ARGV[4]              n
-- ARGV[5]              the owner's ticket; 0: draw one when refused; -1: this attempt neither has nor draws one
-- ARGV[6]              for how many milliseconds a lock is kept
--
-- Returns {1, token} when all are held now.
-- Returns {0, ms, value, ticket} when another owner holds a lock, or a lock is kept for a lower ticket: the time that the
-- longest such obstacle has left, -1 when it never expires, what it has stored, and the owner's ticket, 0 when it has none.
-- Returns {-1, name} when a counter of an older version exists.
--
-- A lock that an earlier attempt of the same owner took, whose answer was lost, is taken over. An attempt that arrives
-- after a later one of the same owner changes nothing.
local owner, n, ticket = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local fenced = #KEYS > n
local holder, left = nil, 0

local function refused(value, ms)
  if not holder or (left >= 0 and (ms < 0 or ms > left)) then
    holder, left = value, ms
  end
end

-- The attempt that stored the value; nil when it was another owner's.
local function attempt(value)
  if string.sub(value, 1, #owner + 1) == owner .. ":" then
    return tonumber(string.match(value, "^%d+", #owner + 2))
  end
end

for i = 2 * n + 3, #KEYS do
  if redis.call("EXISTS", KEYS[i]) == 1 then return {-1, KEYS[i]} end
end

local kept, ours = {}, {} -- by lock: the ticket for which it is kept, and whether that is the owner's
for i = 1, n do
  local value = redis.call("GET", KEYS[i])
  local earlier = value and attempt(value)
  if earlier and earlier > attempt(ARGV[1]) then return {0, 0, value, 0} end
  if value and not earlier then refused(value, redis.call("PTTL", KEYS[i])) end
  local keep = fenced and redis.call("GET", KEYS[n + 2 + i])
  if keep then
    local number, by = string.match(keep, "^(%d+):(.*)$")
    kept[i], ours[i] = tonumber(number), by == owner
    if ours[i] and ticket == 0 then ticket = kept[i] end -- drawn by an attempt whose answer was lost
    if not ours[i] and (ticket < 1 or kept[i] < ticket) then
      refused(by, redis.call("PTTL", KEYS[n + 2 + i]))
    end
  end
end

if not holder then
  -- The counter first: INCR can fail (a value that is no number), and then no lock must stay behind.
  local token = fenced and redis.call("INCR", KEYS[n + 1]) or 0
  for i = 1, n do
    redis.call("SET", KEYS[i], ARGV[1], "PX", ARGV[3])
    if ours[i] then redis.call("DEL", KEYS[n + 2 + i]) end
  end
  return {1, token}
end

if not fenced or ticket < 0 then return {0, left, holder, 0} end
if ticket == 0 then
  ticket = redis.call("INCR", KEYS[n + 2])
elseif tonumber(redis.call("GET", KEYS[n + 2]) or "0") < ticket then
  redis.call("SET", KEYS[n + 2], ARGV[5]) -- Redis lost the counter: later tickets must still be higher
end
for i = 1, n do
  if not kept[i] or ours[i] or kept[i] > ticket then
    redis.call("SET", KEYS[n + 2 + i], string.format("%d:%s", ticket, owner), "PX", ARGV[6])
  end
end
return {0, left, holder, ticket}
