-- Stands before every other script here. All keys share one hash tag, hence one slot, so that a script may name keys itself:
-- which SKUs an order has, only its own key knows.
-- KEYS[1] meta: hash. epoch, open, seq and net of the last entry, check_until (s): until when orders may be known to MySQL alone
-- KEYS[2] log: stream. The entries that MySQL has to follow, and the last one that it has followed
-- ARGV[1] prefix of the keys of this epoch; below it stock:<sku> and order:<no>
-- ARGV[2] epoch of the caller
-- ARGV[3] seen: the highest seq that the caller has been answered in this epoch
-- stock:<sku>: hash. a available, laid units that ever came here, opening, closed 1 while it is on its way to another layout
-- order:<no>: hash. s status, h hash of the request, l lines, e id of its last entry, m 1 if units went to the store room
-- Every answer begins with a verdict. A script that changed something goes on with seq and net.
local meta, log, prefix = KEYS[1], KEYS[2], ARGV[1]
local seq, net, check_until -- of meta, once refusal has read it

-- lost shuts everything until somebody has rebuilt it: a counter that is gone must not be taken for one that is zero.
local function lost(why)
  redis.call('HSET', meta, 'open', '0', 'why', why)
  return {'lost', why}
end

-- refusal returns an answer when this epoch must not be worked with, else nothing.
local function refusal()
  local m = redis.call('HMGET', meta, 'epoch', 'open', 'seq', 'net', 'check_until')
  if not m[1] then return {'lost', 'no epoch'} end
  if m[1] ~= ARGV[2] then return {'epoch', m[1]} end
  if m[2] ~= '1' then return {'shut'} end
  -- A replica that was promoted while it was behind knows less than it has told.
  if tonumber(m[3]) < tonumber(ARGV[3]) then return lost('entry ' .. m[3] .. ' is the last, and ' .. ARGV[3] .. ' was answered') end
  seq, net, check_until = tonumber(m[3]), tonumber(m[4]), tonumber(m[5] or '0')
end

-- append writes an entry, counts it and returns its id.
local function append(op, no, hash, lines, rooms, units)
  seq, net = seq + 1, net + units
  redis.call('HSET', meta, 'seq', seq, 'net', net)
  return redis.call('XADD', log, '*', 'o', op, 'n', no, 'h', hash, 'l', lines, 'm', rooms, 'q', seq, 'u', net)
end
