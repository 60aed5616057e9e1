-- Gives out the next slot that is free in all dimensions of all scopes that hold for a call at once.
--
-- KEYS: the hash and the permits of the provider as a whole, then of each scope of which the call takes one
-- ARGV: 1 the longest wait that the caller bears; -1 to ask for the wait only
--       2 the name of the permit; 3 for how long it may be held, from the slot on
--       4 how many requests may come at once
--       5 1: it is urgent, and goes before those whose slots are still to come
--       then for each scope of KEYS: how many permits there are, 0: any; how many dimensions follow, each of 5 values (see
--       dimension)
-- Returns {0, wait, binds, chosen, slot, 1 if urgent calls may still go before it, for the provider and then the scope chosen:
--         refusals, and for each dimension what its pace was charged, what others were taken to use, and its sum}: granted:
--         send it after wait
--         {1, wait, binds, chosen, blocked}: a slot would come after wait, which is too long; nothing was reserved. For so long
--         it is blocked, or its day used up: no other limit would be a reason
--         {2, wait, binds, chosen}: no permit is free, and the first expires after wait; or no room, but calls under way will
--         give some back. Nothing was reserved; who listens is told when to ask again
--         {3, 0, 0, n}: the n-th hash was lost
--         binds says what the wait is for: the number of a dimension, first the provider's and then those of the scope chosen,
--         0 for a block or nothing, -1 for the permits. chosen is the number of the scope, 1 where there is the provider only
-- Guarantees: the scope in which the slot comes first is chosen, the first of several. Slots are given out in the order of the
-- calls to this script, but for the urgent, who get the first slot that is still to come: from there on all others move by one,
-- of which their holders learn when they look whether they may send. The first of them is overtaken three times at most. No
-- window of a dimension holds more than its limit, whatever the mix of demands, as long as each call is sent within the
-- margin (by which the windows here are longer than the provider's) after its slot and uses no more than was asked for.
local bearable, permit, hold, burst, urgent = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
for n = 1, #KEYS / 2 do
  use(n)
  if lost() then return {3, 0, 0, n} end
end
local now = clock()

local scopes, place = {}, 6
for n = 1, #KEYS / 2 do
  use(n)
  local state = get('blocked', 'refusals', 'last', 'lowered', 'lowered_until')
  local s = {n = n, blocked = state[1], refusals = state[2], last = state[3], permits = tonumber(ARGV[place]), dims = {}, pace = 0}
  if state[5] > now then s.permits = s.permits > 0 and math.min(s.permits, state[4]) or state[4] end
  for i = 1, tonumber(ARGV[place + 1]) do
    local d = dimension(place + 2 + PLACES * (i - 1))
    load(d, now, s.last)
    d.scope, s.dims[i] = n, d
    if d.paced and d.cost > 0 and not d.tokens then s.pace = math.max(s.pace, span(d, d.cost, burst)) end
  end
  place = place + 2 + PLACES * #s.dims
  scopes[n] = s
end

-- fit finds the slot of the call in some scopes at once, and reserves nothing.
local function fit(list)
  local f = {scopes = list, dims = {}, slot = now, binds = 0, room_now = true, claims = {}}
  for _, s in ipairs(list) do f.slot = math.max(f.slot, s.blocked) end
  f.held, f.blocked = f.slot > now, f.slot - now
  for _, s in ipairs(list) do
    for _, d in ipairs(s.dims) do
      f.dims[#f.dims + 1] = d
      if d.paced and d.cost > 0 then
        local early = 0
        if not d.tokens then early = span(d, math.min(burst, d.limit) - 1, burst) end
        if d.free - early > f.slot then f.slot, f.binds = d.free - early, #f.dims end
      end
    end
    -- A model that has to wait for long does not hold the others up: the provider's pace goes on from here.
    if s.n == 1 and #list > 1 then f.own = f.slot end
  end

  -- The count: wait until enough has left the window. Requests are kept to their limit by the pace alone, unless others
  -- use it, too, or calls are sent later than the pace has them, or the limit was lowered.
  for n, d in ipairs(f.dims) do
    use(d.scope)
    local seen = others(d, f.slot)
    if d.counted and d.cost > 0 and (d.tokens or not d.paced or seen > 0 or d.lowered > f.slot or f.own and d.scope == 1) then
      -- What others do next is not known: leave them some.
      local room = d.limit
      if seen > 0 then room = math.max(room - math.ceil(room / 30), d.cost) end
      if d.claim > d.cost then room = math.max(room - d.claim, d.cost) end
      local over = d.sum + d.cost - room
      f.room_now = f.room_now and over + seen <= 0
      local paced, at, first, values = f.slot, d.head, d.head, {}
      while true do
        local exit = at <= d.tail and (at + 1) * d.width + d.window or math.huge
        if exit <= f.slot then
          if not values[at - first + 1] then
            first, values = at, buckets(d, at, math.min(at + 19, d.tail))
          end
          over, at = over - values[at - first + 1], at + 1
        else
          local fits = over <= 0 and math.max(others_leave(d, -over), f.slot) or math.huge
          if fits <= exit then
            f.slot = fits == math.huge and f.slot or fits
            break
          end
          f.slot = exit
        end
      end
      if f.slot > paced then f.binds = n end
      if not d.paced and f.slot > paced then f.blocked = f.slot - now end
      if bearable >= 0 and f.slot - paced > MILLION / 2 and d.open > 0 and d.open >= d.sum + d.cost - room then
        f.full, f.full_wait, f.full_binds = d.scope, MILLION, n
        return f
      end
      if bearable >= 0 and d.tokens and f.slot - now > bearable and f.slot > paced and d.cost >= d.claim then
        f.claims[#f.claims + 1] = d
      end
    end
  end
  return f
end

-- overtake finds the slot of the first call that an urgent one of these scopes may go before. That is among those whose pace
-- is the slowest: slots that are closer together are not worth the trouble, since processes hold those of 50 ms, and others
-- must count in the same scopes.
local function overtake(f)
  local s = f.scopes[#f.scopes]
  if s.n > 1 and scopes[1].pace > 0 then s = scopes[1].pace >= s.pace and scopes[1] or nil end
  if not s or s.pace < MILLION / 20 or bearable < 0 then return end
  use(s.n)
  f.order, f.ahead, f.where = s, coming(now), string.sub(redis.sha1hex(KEYS[2 * f.scopes[#f.scopes].n - 1]), 1, 8)
  if urgent == '1' and f.room_now and not f.held then
    for i, other in ipairs(f.ahead) do
      if other.urgent == '1' or other.where ~= f.where or (i == 1 and other.over >= 3) then
        f.overtaken = nil
      elseif not f.overtaken then
        f.overtaken = other.slot
      end
    end
    if f.overtaken and f.overtaken < f.slot then f.slot = f.overtaken else f.overtaken = nil end
  end
end

-- find_permit finds whether a permit is free in each of these scopes.
local function find_permit(f)
  for _, s in ipairs(f.scopes) do
    if s.permits > 0 and not f.full then
      use(s.n)
      redis.call('ZREMRANGEBYSCORE', permits, '-inf', text(now))
      if redis.call('ZCARD', permits) >= s.permits then
        local first = redis.call('ZRANGE', permits, 0, 0, 'WITHSCORES')
        f.full, f.full_wait, f.full_binds = s.n, tonumber(first[2]) - now, -1
      end
    end
  end
end

-- The first of those that can be had; else of those of which something comes back soon; else of all.
local best
for n = math.min(#scopes, 2), #scopes do
  local f = fit(n == 1 and {scopes[1]} or {scopes[1], scopes[n]})
  f.chosen = n
  if not f.full then
    overtake(f)
    f.late = f.slot - now > math.max(bearable, 0)
    if not f.late then find_permit(f) end
  end
  f.rank = f.late and 2 or f.full and 1 or 0
  if not best or f.rank < best.rank or f.rank == best.rank and f.slot < best.slot then best = f end
end
local slot, wait = best.slot, best.slot - now

if best.rank > 0 or bearable < 0 then
  if best.rank == 1 then
    use(best.full)
    put('waiting', now)
    flush()
    return {2, best.full_wait, best.full_binds, best.chosen}
  end
  for _, d in ipairs(best.claims) do
    -- Small calls would fill whatever becomes free, and a large one would never find room: leave it some.
    use(d.scope)
    put(d.name .. '.claim', d.cost)
    put(d.name .. '.claim_until', math.min(slot, now + d.window) + 15 * MILLION)
  end
  flush()
  return {1, wait, best.binds, best.chosen, best.blocked}
end

if best.overtaken then
  local s = best.order
  for _, other in ipairs(best.ahead) do
    if other.slot >= best.overtaken then
      for _, d in ipairs(best.dims) do
        local cost = tonumber(string.match(other.costs, ',' .. math.min(d.scope, 2) .. d.name .. '(%d+)') or 0)
        use(d.scope)
        add(d, other.slot, -cost)
        add(d, other.slot + s.pace, cost)
      end
      other.slot, other.over = other.slot + s.pace, other.over + 1
      s.last = math.max(s.last, other.slot)
    end
  end
end

local ordered = wait > 0 and best.order
local out, costs = {0, wait, best.binds, best.chosen, slot, ordered and 1 or 0}, ''
for _, s in ipairs(best.scopes) do
  use(s.n)
  local paced = s.n == 1 and best.own or slot
  out[#out + 1] = s.refusals
  for _, d in ipairs(s.dims) do
    local expected = d.cost
    if d.tokens then expected = math.ceil(d.cost * d.share / MILLION) end
    if d.paced and d.cost > 0 then
      put(d.name .. '.free', math.max(d.free, paced) + span(d, expected, burst))
    end
    if d.counted then
      if d.sum == 0 then -- who looks for room later does not walk over what is empty
        d.head = math.max(d.head, math.floor(now / d.width))
        put(d.name .. '.head', d.head)
      end
      add(d, slot, d.cost)
      costs = costs .. ',' .. math.min(s.n, 2) .. d.name .. text(d.cost)
      if d.tokens and d.cost > expected then put(d.name .. '.open', d.open + d.cost - expected) end
      if d.claim > 0 and d.cost >= d.claim then redis.call('HDEL', key, d.name .. '.claim', d.name .. '.claim_until') end
    end
    out[#out + 1], out[#out + 2], out[#out + 3] = expected, others(d, slot), d.sum
  end
  put('last', math.max(s.last, paced))
  if s.permits > 0 then redis.call('ZADD', permits, text(slot + hold), permit) end
end
flush()
if ordered then
  local ahead = best.ahead
  ahead[#ahead + 1] = {name = permit, slot = slot, urgent = urgent, over = 0, where = best.where, costs = costs}
  table.sort(ahead, function(a, b) return a.slot < b.slot end)
  for i, other in ipairs(ahead) do
    ahead[i] = table.concat({other.name, text(other.slot), other.urgent, text(other.over), other.where}, ',') .. other.costs
  end
  use(best.order.n)
  redis.call('HSET', key, 'ahead', table.concat(ahead, ' '))
end
return out
