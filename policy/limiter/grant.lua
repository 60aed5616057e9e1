-- Gives out the next slot that is free in all dimensions at once.
--
-- KEYS: the hash and the permits of the provider
-- ARGV: 1 the longest wait that the caller bears; -1 to ask for the wait only
--       2 the name of the permit; 3 for how long it may be held, from the slot on; 4 how many permits there are, 0: any
--       5 how many requests may come at once
--       6 1: it is urgent, and goes before those whose slots are still to come; 7 how many dimensions follow, each of 5
--       values (see dimension)
-- Returns {0, wait, binds, slot, refusals, then for each dimension what its pace was charged, what others were
--         taken to use, and its sum}: granted: send it after wait
--         {1, wait, binds, blocked}: a slot would come after wait, which is too long; nothing was reserved. For so long the
--         provider is blocked, or its day used up: no other limit would be a reason
--         {2, wait, binds}: no permit is free, and the first expires after wait; or no room, but calls under way will give
--         some back. Nothing was reserved; who listens is told when to ask again
--         {3}: the hash was lost
--         binds says what the wait is for: the number of a dimension, 0 for a block or nothing, -1 for the permits
-- Guarantees: slots are given out in the order of the calls to this script, but for the urgent, who get the first slot
-- that is still to come: from there on all others move by one, of which their holders learn when they look whether they
-- may send. The first of them is overtaken three times at most. No window of a dimension holds more than
-- its limit, whatever the mix of demands, as long as each call is sent within the margin (by which the windows here are
-- longer than the provider's) after its slot and uses no more than was asked for.
local bearable, permit, hold, concurrent, burst = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if lost() then return {3} end
local now = clock()
local state = get('blocked', 'refusals', 'last', 'lowered', 'lowered_until')
local slot = math.max(now, state[1])
local blocked, binds = slot - now, 0

local dims, pace, room_now = {}, 0, true
for n = 1, tonumber(ARGV[7]) do
  local d = dimension(3 + PLACES * n)
  load(d, now, state[3])
  dims[n] = d
  if d.paced and d.cost > 0 then
    local early = 0
    if not d.tokens then
      early = span(d, math.min(burst, d.limit) - 1, burst)
      pace = math.max(pace, span(d, d.cost, burst))
    end
    if d.free - early > slot then slot, binds = d.free - early, n end
  end
end

-- The count: wait until enough has left the window. Requests are kept to their limit by the pace alone, unless others
-- use it, too.
for n, d in ipairs(dims) do
  local seen = others(d, slot)
  if d.counted and d.cost > 0 and (d.tokens or not d.paced or seen > 0) then
    -- What others do next is not known: leave them some.
    local room = d.limit
    if seen > 0 then room = math.max(room - math.ceil(room / 30), d.cost) end
    if d.claim > d.cost then room = math.max(room - d.claim, d.cost) end
    local over = d.sum + d.cost - room
    room_now = room_now and over + seen <= 0
    local paced, at, first, values = slot, d.head, d.head, {}
    while true do
      local exit = at <= d.tail and (at + 1) * d.width + d.window or math.huge
      if exit <= slot then
        if not values[at - first + 1] then
          first, values = at, buckets(d, at, math.min(at + 19, d.tail))
        end
        over, at = over - values[at - first + 1], at + 1
      else
        local fits = over <= 0 and math.max(others_leave(d, -over), slot) or math.huge
        if fits <= exit then
          slot = fits == math.huge and slot or fits
          break
        end
        slot = exit
      end
    end
    if slot > paced then binds = n end
    if not d.paced and slot > paced then blocked = slot - now end
    if bearable >= 0 and slot - paced > MILLION / 2 and d.open > 0 and d.open >= d.sum + d.cost - room then
      put('waiting', now)
      flush()
      return {2, MILLION, n}
    end
    if bearable >= 0 and d.tokens and slot - now > bearable and slot > paced and d.cost >= d.claim then
      -- Small calls would fill whatever becomes free, and a large one would never find room: leave it some.
      put(d.name .. '.claim', d.cost)
      put(d.name .. '.claim_until', math.min(slot, now + d.window) + 15 * MILLION)
    end
  end
end

-- Slots that are closer together are not worth the trouble: processes hold those of 50 ms.
local ahead, overtaken = {}, nil
if pace >= MILLION / 20 and bearable >= 0 then ahead = coming(now) end
if ARGV[6] == '1' and room_now and state[1] <= now then
  for i, other in ipairs(ahead) do
    if other.urgent == '1' or (i == 1 and other.over >= 3) then
      overtaken = nil
    elseif not overtaken then
      overtaken = other.slot
    end
  end
  if overtaken and overtaken < slot then slot = overtaken else overtaken = nil end
end

local wait = slot - now
if wait > math.max(bearable, 0) then
  flush()
  return {1, wait, binds, blocked}
end

if state[5] > now then concurrent = concurrent > 0 and math.min(concurrent, state[4]) or state[4] end
if concurrent > 0 then
  redis.call('ZREMRANGEBYSCORE', permits, '-inf', text(now))
  if redis.call('ZCARD', permits) >= concurrent then
    put('waiting', now)
    flush()
    local first = redis.call('ZRANGE', permits, 0, 0, 'WITHSCORES')
    return {2, tonumber(first[2]) - now, -1}
  end
end
if bearable < 0 then
  flush()
  return {1, wait, binds, blocked}
end

local last = math.max(state[3], slot)
if overtaken then
  for _, other in ipairs(ahead) do
    if other.slot >= overtaken then
      for _, d in ipairs(dims) do
        local cost = tonumber(string.match(other.costs, ',' .. d.name .. '(%d+)') or 0)
        add(d, other.slot, -cost)
        add(d, other.slot + pace, cost)
      end
      other.slot, other.over = other.slot + pace, other.over + 1
      last = math.max(last, other.slot)
    end
  end
end

local out, costs = {0, wait, binds, slot, state[2]}, ''
for _, d in ipairs(dims) do
  local expected = d.cost
  if d.tokens then expected = math.ceil(d.cost * d.share / MILLION) end
  if d.paced and d.cost > 0 then
    put(d.name .. '.free', math.max(d.free, slot) + span(d, expected, burst))
  end
  if d.counted then
    add(d, slot, d.cost)
    costs = costs .. ',' .. d.name .. text(d.cost)
    if d.tokens and d.cost > expected then put(d.name .. '.open', d.open + d.cost - expected) end
    if d.claim > 0 and d.cost >= d.claim then redis.call('HDEL', key, d.name .. '.claim', d.name .. '.claim_until') end
  end
  out[#out + 1], out[#out + 2], out[#out + 3] = expected, others(d, slot), d.sum
end
put('last', last)
flush()
if wait > 0 and pace >= MILLION / 20 then
  ahead[#ahead + 1] = {name = permit, slot = slot, urgent = ARGV[6], over = 0, costs = costs}
  table.sort(ahead, function(a, b) return a.slot < b.slot end)
  for i, other in ipairs(ahead) do
    ahead[i] = table.concat({other.name, text(other.slot), other.urgent, text(other.over)}, ',') .. other.costs
  end
  redis.call('HSET', key, 'ahead', table.concat(ahead, ' '))
end
if concurrent > 0 then redis.call('ZADD', permits, text(slot + hold), permit) end
return out
