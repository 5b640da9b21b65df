-- Stands before every other script here. All keys share one hash tag, hence one slot, so that a script may name keys itself:
-- which SKUs an order has, only its own key knows.
-- KEYS[1] meta: hash. epoch, open, check_until (s): until when orders may be known to MySQL alone, and for each replica of the
--         service r:<replica>: how many answers it was given in this epoch, at:<replica> (s): when it last asked for nothing else
-- KEYS[2] log: stream. The entries that MySQL has to follow, and the last one that it has followed
-- ARGV[1] prefix of the keys of this epoch; below it stock:<sku> and order:<no>
-- ARGV[2] epoch of the caller
-- ARGV[3] replica: the caller's name, new for each process. '' for calls of the writer, which are not counted
-- ARGV[4] answered: the highest number that the replica has received in this epoch
-- stock:<sku>: hash. a available, laid units that ever came here, opening, closed 1 while it is on its way to another layout
-- order:<no>: hash. s status, h hash of the request, l lines, e id of its last entry, m 1 if units became unallocated stock. It has
--         no expiry as long as MySQL may not have followed e
-- Every answer begins with a verdict. An answer that depends on an entry which MySQL may not have goes on with a number and the
-- entry's id. The number counts the answers of that replica and is written together with the entry, so a Redis that has lost the
-- entry has lost the number too, and no other replica can make up for it.
local meta, log, prefix = KEYS[1], KEYS[2], ARGV[1]
local number, check_until -- of meta, once refusal has read it

-- lost shuts everything until the writer has rebuilt it: a missing counter must not be taken for one that is zero.
local function lost(why)
  redis.call('HSET', meta, 'open', '0', 'why', why)
  return {'lost', why}
end

-- refusal returns an answer when this epoch must not be worked with, else nothing.
local function refusal()
  local m = redis.call('HMGET', meta, 'epoch', 'open', 'check_until', 'r:' .. ARGV[3])
  if not m[1] then return {'lost', 'no epoch'} end
  if m[1] ~= ARGV[2] then return {'epoch', m[1]} end
  if m[2] ~= '1' then return {'shut'} end
  check_until, number = tonumber(m[3] or '0'), tonumber(m[4] or '0')
  -- This replica has received more answers than Redis has given: Redis has lost some of them.
  if number < tonumber(ARGV[4]) then
    return lost('answer ' .. number .. ' is the last to replica ' .. ARGV[3] .. ', which has received ' .. ARGV[4])
  end
end

-- count returns the number of this answer.
local function count()
  number = number + 1
  redis.call('HSET', meta, 'r:' .. ARGV[3], number)
  return tostring(number)
end

-- append writes an entry and returns the number of the answer and the entry's id.
local function append(op, no, hash, lines, rooms)
  return count(), redis.call('XADD', log, '*', 'o', op, 'n', no, 'h', hash, 'l', lines, 'm', rooms)
end

-- repeated returns what append does for an answer that repeats what the order's last entry e has done. When MySQL may not have
-- followed e, this is an answer like the first one, and the replica that was given the first one may have gone. Else the number is 0.
local function repeated(key, e)
  if not e or e == '' or redis.call('TTL', key) ~= -1 then return '0', e or '' end
  return count(), e
end
