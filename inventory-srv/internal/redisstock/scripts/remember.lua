-- Brings an order here that only MySQL knows. One that is here is newer and stays.
-- ARGV[4] order number  ARGV[5] status  ARGV[6] hash  ARGV[7] lines  ARGV[8] how long it stays, in s
-- returns ok | lost | epoch | shut
local no = refusal()
if no then return no end
local key = prefix .. 'order:' .. ARGV[4]
if redis.call('EXISTS', key) == 0 then
  redis.call('HSET', key, 's', ARGV[5], 'h', ARGV[6], 'l', ARGV[7], 'e', '')
  redis.call('EXPIRE', key, ARGV[8])
end
return {'ok'}
