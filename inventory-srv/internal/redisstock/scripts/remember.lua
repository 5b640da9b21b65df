-- Brings an order here that only MySQL knows. One that is here is newer and stays.
-- ARGV[5] order number  ARGV[6] status  ARGV[7] hash  ARGV[8] lines  ARGV[9] how long it stays, in s
-- returns ok | lost | epoch | shut
local no = refusal()
if no then return no end
local key = prefix .. 'order:' .. ARGV[5]
if redis.call('EXISTS', key) == 0 then
  redis.call('HSET', key, 's', ARGV[6], 'h', ARGV[7], 'l', ARGV[8], 'e', '')
  redis.call('EXPIRE', key, ARGV[9])
end
return {'ok'}
