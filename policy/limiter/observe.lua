-- Notes what others have used of the same account, as the headers of an answer have shown.
--
-- KEYS: the hash and the permits of a scope
-- ARGV: 1 the slot of the call; 2-6 the dimension, with what is not ours of what was used at that slot as the demand, 0 for
--       nothing; 7 for how long, from the slot on, that is taken to be still so, and 8 after how long it is gone
--       9 what remained; 10 by how much our count and theirs may differ
-- Returns nothing of interest.
-- Guarantees: the answer to the latest call holds, whatever was said before and is heard later. What our own calls explain
-- is not taken for others': a server that counts in windows of its own, shorter than those of its limit, tells what
-- remains of these.
if lost() then return {0} end
local SETTLES = 2 * MILLION
local slot, d, remaining, blur = tonumber(ARGV[1]), dimension(2), tonumber(ARGV[9]), tonumber(ARGV[10])
local now = clock()
local state = get('last', 'refused_again')
load(d, now, state[1])
if slot < d.others_slot then
  flush()
  return {0}
end

-- explained reports whether no more is missing of what a shorter window would allow than we have used in it. Where we have
-- used nothing before it, that says nothing; nor is it believed while call after call is refused.
local function explained()
  if now - state[2] < d.window then return false end
  local newest = math.floor(slot / d.width)
  local values = buckets(d, math.max(newest - BUCKETS / 2 + 1, d.head), newest)
  local upto, ours = 0, 0
  for _, part in ipairs({12, 6, 4, 3, 2}) do
    while upto < math.min(BUCKETS / part, #values) do
      ours, upto = ours + values[#values - upto], upto + 1
    end
    local share = d.limit / part
    if share >= 5 * blur and d.sum >= ours + 2 * blur and remaining <= share + blur and remaining >= share - ours - blur then return true end
  end
  return false
end

if d.cost > 0 and explained() then d.cost = 0 end
-- An answer that says less may be of calls that came in another order: less is believed within some seconds.
local last = others(d, slot) * math.max(1 - (slot - d.others_slot) / SETTLES, 0)
put(d.name .. '.others', math.min(math.max(d.cost, math.floor(last)), d.limit))
put(d.name .. '.others_slot', slot)
put(d.name .. '.others_from', slot + tonumber(ARGV[7]))
put(d.name .. '.others_until', slot + tonumber(ARGV[8]))
flush()
return {0}
