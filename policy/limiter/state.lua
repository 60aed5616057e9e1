-- Tells what holds a provider back, for display.
--
-- KEYS: the hash and the permits of a scope
-- ARGV: 1 how many dimensions follow, each of 5 values (see dimension)
-- Returns {for how long it is blocked, since when, the name of the refusal, calls in flight, lowered concurrency, for how
-- long, then for each dimension what was given out in its window, what others are taken to use, and when that is gone}, or
-- nothing where the hash is not there. Times are from now on, or back.
-- Guarantees: nothing is reserved.
if lost() then return {} end
local now = clock()
local state = get('last', 'blocked', 'blocked_at', 'lowered', 'lowered_until')
local out = {
  math.max(state[2] - now, 0), now - state[3], redis.call('HGET', key, 'blocked_for') or '',
  redis.call('ZCOUNT', permits, text(now), '+inf'), state[4], math.max(state[5] - now, 0),
}
for n = 1, tonumber(ARGV[1]) do
  local d = dimension(2 + PLACES * (n - 1))
  load(d, now, state[1])
  out[#out + 1], out[#out + 2], out[#out + 3] = math.max(d.sum, 0), others(d, now), math.max(d.others_until - now, 0)
end
flush()
return out
