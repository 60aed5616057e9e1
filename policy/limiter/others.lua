-- Counts what others have used of the same account, as the headers of an answer have shown.
--
-- KEYS: the hash and the permits of the provider
-- ARGV: 1-4 the dimension, with what was seen as the cost; 5 the others of the dimension as of the slot of that call
-- Returns how much was counted.
-- Guarantees: what several answers show is counted once, and leaves with the window.
if lost() then return {0} end
local now = clock()
local d = dimension(1)
load(d, now, get('last')[1])
local amount = math.min(d.cost - (d.others - tonumber(ARGV[5])), d.limit)
if amount <= 0 then
  flush()
  return {0}
end
add(d, now, amount)
put(d.name .. '.others', d.others + amount)
put(d.name .. '.others_at', now)
flush()
return {amount}
