-- Blocks a provider for everybody, because it refused a call for its rate limit.
--
-- KEYS: the hash and the permits of a scope
-- ARGV: 1 the slot of the refused call; 2 for how long the provider asked to wait, 0 if it did not say
--       3 the first and 4 the longest wait where it did not say
--       5 1 if it refused because too many calls were under way; 6 how many may be; 7 what it called it
-- Returns {wait until it is over, the concurrency that was learned or 0, how many refusals came one after the other}
-- Guarantees: a block only grows. Calls that were under way when it was said do not double the next one, nor lower
-- concurrency again: what refused them is the same.
local now, slot, asked = clock(), tonumber(ARGV[1]), tonumber(ARGV[2])
local state = get('blocked', 'blocked_at', 'refusals', 'lowered', 'lowered_until')
local blocked, lowered = state[1], 0
local fresh = slot > state[2]
local refusals = state[3]
if asked > 0 then
  blocked = math.max(blocked, now + asked)
elseif fresh then
  blocked = math.max(blocked, now + math.min(tonumber(ARGV[3]) * 2 ^ math.min(refusals, 20), tonumber(ARGV[4])))
end
if fresh then
  refusals = refusals + 1
  redis.call('HSET', key, 'refusals', text(refusals))
  if refusals > 1 then redis.call('HSET', key, 'refused_again', text(now)) end
end
if ARGV[5] == '1' then
  lowered = state[5] > now and state[4] or 0
  if fresh then
    local under_way, limit = redis.call('ZCOUNT', permits, text(now), '+inf'), tonumber(ARGV[6])
    if limit > 0 then under_way = math.min(under_way, limit) end
    lowered = math.max(under_way - 1, 1)
    -- For a minute by ourselves; by then the settings say so.
    redis.call('HSET', key, 'lowered', text(lowered), 'lowered_until', text(now + 60 * MILLION))
  end
end
redis.call('HSET', key, 'blocked', text(blocked), 'blocked_for', ARGV[7])
if fresh then redis.call('HSET', key, 'blocked_at', text(now)) end
return {math.max(blocked - now, 0), lowered, refusals}
