-- Ends a call: gives its permit back and counts what it really used.
--
-- KEYS: the hash and the permits of a scope
-- ARGV: 1 the name of the permit, empty if it has none; 2 its slot; 3 1 if the provider answered well
--       4 the channel on which to tell that a permit is free; 5 the name of the provider, to be told there
--       6 how many dimensions follow, each of 7 values: those of dimension, with what was reserved as the demand, then
--         what the pace was charged, and what was used, -1 if that is not known
-- Returns nothing of interest.
-- Guarantees: what others were promised stays: the pace of tokens does not go back behind the latest slot, that of
-- requests not at all, as the place in the order is taken; a request that was not sent is only not counted.
if ARGV[1] ~= '' then
  local freed = redis.call('ZREM', permits, ARGV[1])
  if freed == 0 then
    -- After a loss, the permits of calls that were under way stand there without their names.
    local first = redis.call('ZRANGE', permits, 0, 0)[1]
    if first and string.sub(first, 1, 5) == 'lost:' then freed = redis.call('ZREM', permits, first) end
  end
end
if lost() then return {0} end
local now, slot = clock(), tonumber(ARGV[2])
local state = get('last', 'refusals', 'blocked_at', 'waiting')
if ARGV[3] == '1' and state[2] > 0 and slot > state[3] then redis.call('HDEL', key, 'refusals') end
for n = 0, tonumber(ARGV[6]) - 1 do
  local d = dimension(7 + 7 * n)
  local charged, used = tonumber(ARGV[12 + 7 * n]), tonumber(ARGV[13 + 7 * n])
  load(d, now, state[1])
  if d.cost > charged then put(d.name .. '.open', math.max(d.open - d.cost + charged, 0)) end
  local known = used >= 0
  if not known then used = d.cost end
  add(d, slot, used - d.cost)
  if d.tokens then
    local free = d.free
    if used >= charged then
      free = free + span(d, used - charged, 1)
    else
      free = math.max(free - span(d, charged - used, 1), math.min(free, math.max(state[1], now)))
    end
    put(d.name .. '.free', free)
  end
  if ARGV[3] == '1' and known and d.tokens then
    local share = math.min(math.floor(used * MILLION / d.cost), MILLION)
    put(d.name .. '.share', math.max(d.share + math.floor((share - d.share) / 4), 1))
  end
end
flush()
if now - state[4] < 15 * MILLION then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
return {0}
