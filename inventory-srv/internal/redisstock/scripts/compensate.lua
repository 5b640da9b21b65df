-- Undoes in Redis what MySQL refused: the order is forgotten, so that whoever asks for it next is told what MySQL knows, and its
-- units go back where they were. An order that is not here has been undone before.
-- ARGV[5] order number  ARGV[6] lines  ARGV[7] 1: they come back, -1: they are taken again
-- returns ok | lost | epoch | shut
local no = refusal()
if no then return no end
local key = prefix .. 'order:' .. ARGV[5]
local status = redis.call('HGET', key, 's')
if not status then return {'ok'} end
redis.call('DEL', key)
if ARGV[7] == '1' and status ~= 'reserved' and status ~= 'confirmed' then return {'ok'} end -- it has given them back itself
for sku, quantity in string.gmatch(ARGV[6], '([^ ;]+) (%d+) %d+') do
  redis.call('HINCRBY', prefix .. 'stock:' .. sku, 'a', ARGV[7] * quantity)
end
return {'ok'}
