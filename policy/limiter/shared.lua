-- Shared by all scripts of the limiter, which are appended to this text.
--
-- All times are microseconds since 1970 on Redis' clock, all amounts are integers: both stay far below 2^53, up to
-- which a Lua number is exact.
--
-- What is limited is a scope: a provider as a whole, or its calls of one class of models with one key. KEYS are the hash
-- and the permits of a scope, and so on for each. The fields of a hash:
--   version         the layout; a hash without it was lost, or never was
--   last            the latest slot that was given out
--   blocked         until when nobody may send; blocked_at is when that was said, blocked_for what the provider called it
--   refusals        refusals without a success in between; refused_again is the time of one after another
--   waiting         when somebody last found no permit, or no room but what calls under way will give back
--   ahead           the slots that are still to come, see coming
--   lowered         the concurrency that refusals have shown; in force until lowered_until
-- and for each dimension, under its name:
--   <d>.free        when the pace allows the next call, under the limit that is in <d>.limit; until <d>.lowered the window still
--                   has calls of a higher one
--   <d>.sum         what the buckets from <d>.head to <d>.tail hold, each in <d>.<number>: what was given out in one
--                   1200th of a window
--   <d>.others      what others had used of the same account as of <d>.others_slot, the slot of the latest call whose answer
--                   said so; it is taken to be still so until <d>.others_from, and gone, evenly, by <d>.others_until
--   <d>.share       how much of what is asked for is really used, in millionths, as calls have shown
--   <d>.open        how much of what calls under way have reserved is likely to come back
--   <d>.claim       what a call needs that found no room for too long; others leave that much until <d>.claim_until
-- The permits are a sorted set of the calls that hold one, by when they expire.
local key, permits = KEYS[1], KEYS[2]
local VERSION, BUCKETS, MILLION = '4', 1200, 1000000

-- use turns to the n-th scope: what follows reads and writes there. At the beginning it is the first.
local function use(n) key, permits = KEYS[2 * n - 1], KEYS[2 * n] end

local function clock()
  local t = redis.call('TIME')
  return tonumber(t[1]) * MILLION + tonumber(t[2])
end

-- text writes an integer in full; Lua itself would give large ones an exponent.
local function text(n) return string.format('%.0f', n) end

local function get(...)
  local out = redis.call('HMGET', key, ...)
  for i = 1, #out do out[i] = tonumber(out[i] or nil) or 0 end
  return out
end

-- put sets a field at the end of the script, all of a hash in one command; flush is that end.
local pending = {}
local function flush()
  for hash, fields in pairs(pending) do redis.call('HSET', hash, unpack(fields)) end
  pending = {}
end
local function put(name, n)
  local fields = pending[key] or {}
  pending[key] = fields
  fields[#fields + 1], fields[#fields + 2] = name, text(n)
  if #fields >= 1000 then flush() end
end

local function lost() return redis.call('HGET', key, 'version') ~= VERSION end

-- coming reads the slots that are still to come, in their order: the name of each, its time, whether it is urgent, how
-- often it was overtaken, the scopes in which it counts, and as what in each dimension, such as ",1tpm350" in the first.
local function coming(now)
  local list = {}
  for name, slot, urgent, over, where, costs in string.gmatch(redis.call('HGET', key, 'ahead') or '', '(%w+),(%d+),(%d),(%d+),(%x+)(%S*)') do
    if tonumber(slot) > now then
      list[#list + 1] = {name = name, slot = tonumber(slot), urgent = urgent, over = tonumber(over), where = where, costs = costs}
    end
  end
  return list
end

-- dimension reads one from ARGV, where it takes PLACES places: its name, the length of its window, its limit, the demand
-- of a call, and how it is treated, as a sum: 1: it counts tokens; 2: its pace spreads calls; 4: what is given out in the
-- window is counted.
local PLACES = 5
local function dimension(at)
  local d = {name = ARGV[at], window = tonumber(ARGV[at + 1]), limit = tonumber(ARGV[at + 2]), cost = tonumber(ARGV[at + 3])}
  local how = tonumber(ARGV[at + 4])
  d.tokens, d.paced, d.counted = how % 2 == 1, how % 4 >= 2, how >= 4
  d.width = math.ceil(d.window / BUCKETS)
  return d
end

-- gone is the number of buckets that have left the window which ends at time: each with a smaller number has.
local function gone(d, time) return math.floor((time - d.window) / d.width) end

-- buckets returns what the buckets from a to b hold.
local function buckets(d, a, b)
  local out = {}
  while a <= b do
    local names = {}
    for n = a, math.min(b, a + 99) do names[#names + 1] = d.name .. '.' .. text(n) end
    for _, v in ipairs(get(unpack(names))) do out[#out + 1] = v end
    a = a + 100
  end
  return out
end

-- load reads the state of d, and forgets what left its window. last is the latest slot that was given out.
local function load(d, now, last)
  local n = d.name
  local f = get(n .. '.free', n .. '.limit', n .. '.sum', n .. '.head', n .. '.tail', n .. '.share', n .. '.claim', n .. '.claim_until', n .. '.open',
    n .. '.others', n .. '.others_slot', n .. '.others_from', n .. '.others_until', n .. '.lowered')
  local limit
  d.free, limit, d.sum, d.head, d.tail, d.share, d.claim, d.claim_until, d.open, d.others, d.others_slot, d.others_from, d.others_until, d.lowered = unpack(f)
  if d.share == 0 then d.share = MILLION end
  if d.claim_until <= now then d.claim = 0 end
  if d.paced and limit ~= d.limit then
    -- What the last call owes is counted by the new limit, so that a raised limit does not wait for the old one.
    if limit > 0 and d.free > last then d.free = last + math.ceil((d.free - last) * limit / d.limit) end
    if limit > d.limit then
      d.lowered = math.max(last, now) + d.window
      put(n .. '.lowered', d.lowered)
    end
    put(n .. '.free', d.free)
    put(n .. '.limit', d.limit)
  end
  local keep = gone(d, now)
  if not d.counted or d.head >= keep then return end
  local last, freed, names = math.min(keep - 1, d.tail), 0, {}
  for i, v in ipairs(buckets(d, d.head, last)) do
    if v ~= 0 then
      freed = freed + v
      names[#names + 1] = n .. '.' .. text(d.head + i - 1)
    end
  end
  if #names > 0 then redis.call('HDEL', key, unpack(names)) end
  d.sum, d.head = d.sum - freed, keep
  d.open = math.min(d.open, d.sum)
  put(n .. '.sum', d.sum)
  put(n .. '.head', d.head)
end

-- add counts amount, which may be negative, at time.
local function add(d, time, amount)
  local bucket = math.floor(time / d.width)
  if bucket < d.head or amount == 0 then return end
  d.sum, d.tail = d.sum + amount, math.max(d.tail, bucket)
  redis.call('HINCRBY', key, d.name .. '.' .. text(bucket), text(amount))
  put(d.name .. '.sum', d.sum)
  put(d.name .. '.tail', d.tail)
end

-- span returns the time that the pace takes for cost. Requests are kept to the limit by their pace alone, so that it never runs
-- ahead: a burst is room that the pace leaves. The pace of tokens is a tenth above their limit, since there the
-- count decides and the pace only spreads; it makes up for what an estimate wasted.
local function span(d, cost, burst)
  if d.tokens then return math.ceil(cost * d.window * 9 / (d.limit * 10)) end
  return math.ceil(cost * d.window / math.max(d.limit + 1 - burst, 1))
end

-- others returns the part of the limit that others are taken to use at time.
local function others(d, time)
  if time >= d.others_until then return 0 end
  if time <= d.others_from then return d.others end
  return math.ceil(d.others * (d.others_until - time) / (d.others_until - d.others_from))
end

-- others_leave returns the time at which others are taken to use no more than room.
local function others_leave(d, room)
  if d.others <= room then return 0 end
  return math.ceil(d.others_until - room * (d.others_until - d.others_from) / d.others)
end
