-- Shuts an epoch in which MySQL has passed an entry that a replica was answered, and does not have it.
-- ARGV[5] what is missing
-- returns lost | epoch | shut
local no = refusal()
if no then return no end
return lost(ARGV[5])
