-- Starts a hash that is not there.
--
-- KEYS: the hash and the permits of a scope
-- ARGV: 1 for how long the provider is blocked; 2 how long ago the last call was sent, 0: just now, or not known
--       3 how many calls are under way; 4 for how long they may hold their permits; 5 how many requests may come at once
--       6 how many dimensions follow, each of 5 values (see dimension); 7 the first of them
--       then 24 numbers: the calls that were sent in the last hour, in the one before, and so on
-- Returns 1, or 0 where somebody else was faster.
-- Guarantees: no burst follows a loss. A window in which calls may have been sent counts as used in full and evenly.
if not lost() then return {0} end
local now, ago, count = clock(), tonumber(ARGV[2]), tonumber(ARGV[6])
redis.call('DEL', key)
redis.call('HSET', key, 'version', VERSION, 'last', text(now), 'blocked', text(now + tonumber(ARGV[1])))
for n = 1, count do
  local d = dimension(2 + PLACES * n)
  load(d, now, now)
  if not d.paced then
    for h = 0, 23 do
      local calls = tonumber(ARGV[7 + PLACES * count + h])
      if calls > 0 then add(d, now - h * 3600 * MILLION, calls) end
    end
  elseif ago < d.window then
    if d.counted then
      local first, before = gone(d, now) + 1, 0
      for b = 1, BUCKETS do
        local upto = math.floor(d.limit * b / BUCKETS)
        add(d, (first + b - 1) * d.width, upto - before)
        before = upto
      end
    end
    local burst = tonumber(ARGV[5])
    if not d.tokens then put(d.name .. '.free', now + span(d, burst, burst)) end
  end
end
flush()
for n = 1, tonumber(ARGV[3]) do redis.call('ZADD', permits, text(now + tonumber(ARGV[4])), 'lost:' .. n) end
return {1}
