-- The circuit breaker of one provider, shared by the fleet. Time is Redis' own, in
-- milliseconds.
--
-- KEYS[1]  a hash: closed while it has no "until"; open until then, half-open after.
--   until, opens        when it ends, and how often it opened in a row
--   since               when it opened first
--   probe, probe_until  the token of the one probe under way, and when it is given up
--   probed              when the last probe began or ended
--   half                set once the first probe was let go since it opened
--   run, fail_at        failures since the last success, and when the last was
--   ok_at               when the last success was
--   e<i>, o<i>, f<i>    buckets: number of the bucket, successes, failures
--   t:<token>           a call on trial: when it stops counting as one under way
-- ARGV[1]  "ask": may a call be made? ARGV[4] is a token for it.
--          "record": ARGV[2] successes and ARGV[3] failures of calls without a token;
--                  ARGV[4] a token or "", ARGV[5] what came of its call: "ok",
--                  "failed", "throttled" or "nothing".
--          "look": changes nothing.
-- ARGV[6]  when a probe that nothing is heard of is given up, in ms
--
-- Returns {granted, state, wait, sure, changed, opens, failures, answers, open}: granted
-- is 0, 1 (needs no token) or 2 (the token counts until its outcome is recorded); wait is
-- how many ms are left until a call may be let through; sure is 1 while calls need no
-- token; changed is 1 if this call moved it; open is for how many ms it has not been
-- closed.
--
-- It guarantees that probes are made one at a time, a second apart; that it opens at
-- the latest at the failure NEED in a row; and that no more than CAP calls are under
-- way or failed while nobody knows whether the provider works.
local NEED, CAP = 10, 20
local BUCKET, BUCKETS = 5000, 6
local WINDOW = BUCKET * BUCKETS
local SURE = 60000        -- how long a success stands for the next
local TRIAL = 5000        -- how long a call without an answer keeps another back
local OPEN, LONGEST = 10000, 60000
local PROBE_PAUSE = 1000
local PROBE_LIMIT = tonumber(ARGV[6])
local KEEP = 3600000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local key = KEYS[1]
local raw = redis.call('HGETALL', key)
local h = {}
for i = 1, #raw, 2 do h[raw[i]] = raw[i + 1] end
local function num(name) return tonumber(h[name] or 0) end
local function set(name, value)
  h[name] = tostring(value)
  redis.call('HSET', key, name, h[name])
end
local function del(name)
  if h[name] then
    h[name] = nil
    redis.call('HDEL', key, name)
  end
end

local function state()
  if not h['until'] then return 'closed' end
  if now < num('until') then return 'open' end
  return 'half_open'
end

local function run()
  if now - num('fail_at') >= WINDOW then return 0 end
  return num('run')
end

local function sure()
  return not h['until'] and h['ok_at'] and now - num('ok_at') < SURE and run() == 0
end

local epoch = math.floor(now / BUCKET)
local function counts()
  local ok, failed = 0, 0
  for i = 0, BUCKETS - 1 do
    if epoch - num('e' .. i) < BUCKETS then
      ok, failed = ok + num('o' .. i), failed + num('f' .. i)
    end
  end
  return ok, failed
end
local function count(ok, failed)
  local i = epoch % BUCKETS
  if num('e' .. i) ~= epoch then
    set('e' .. i, epoch)
    set('o' .. i, 0)
    set('f' .. i, 0)
  end
  if ok > 0 then set('o' .. i, num('o' .. i) + ok) end
  if failed > 0 then set('f' .. i, num('f' .. i) + failed) end
end

-- trials counts the calls on trial and forgets those that took too long.
local function trials()
  local n = 0
  for name, value in pairs(h) do
    if string.sub(name, 1, 2) == 't:' then
      if tonumber(value) > now then n = n + 1 else redis.call('HDEL', key, name) end
    end
  end
  return n
end
local function clear(prefix)
  local names = {}
  for name in pairs(h) do
    if string.sub(name, 1, #prefix) == prefix then names[#names + 1] = name end
  end
  for _, name in ipairs(names) do del(name) end
end

local changed = 0
local function open()
  local opens = num('opens') + 1
  set('opens', opens)
  if not h['since'] then set('since', now) end
  set('until', now + math.min(OPEN * 2 ^ math.min(opens - 1, 10), LONGEST))
  set('probed', 0)
  for _, name in ipairs({'probe', 'probe_until', 'half'}) do del(name) end
  clear('t:')
  changed = 1
end

local granted, wait = 0, 0
if ARGV[1] == 'ask' then
  local s = state()
  if s == 'closed' then
    if sure() then
      granted = 1
    elseif run() + trials() < CAP then
      granted = 2
      set('t:' .. ARGV[4], now + TRIAL)
    else
      wait = 100
    end
  elseif s == 'open' then
    wait = num('until') - now
  elseif h['probe'] and num('probe_until') > now then
    wait = PROBE_PAUSE
  elseif now - num('probed') < PROBE_PAUSE then
    wait = num('probed') + PROBE_PAUSE - now
  else
    granted = 2
    set('probe', ARGV[4])
    set('probe_until', now + PROBE_LIMIT)
    set('probed', now)
    if not h['half'] then
      set('half', 1)
      changed = 1
    end
  end
elseif ARGV[1] == 'record' then
  local ok, failed, token, outcome = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
  if h['until'] then
    -- Late answers to calls from before it opened say nothing new.
    if token ~= '' and h['probe'] == token then
      if outcome == 'ok' then
        redis.call('DEL', key)
        h = {}
        set('ok_at', now)
        changed = 1
      elseif outcome == 'nothing' then
        del('probe')
        set('probed', now)
      else
        open()
      end
    end
  else
    if token ~= '' then del('t:' .. token) end
    if outcome == 'ok' then ok = ok + 1 elseif outcome == 'failed' then failed = failed + 1 end
    if ok > 0 then
      set('ok_at', now)
      set('run', 0)
      clear('t:')
    end
    if failed > 0 then
      set('run', run() + failed)
      set('fail_at', now)
    end
    if ok + failed > 0 then count(ok, failed) end
    if failed > 0 then
      local all_ok, all_failed = counts()
      if run() >= NEED or (all_ok + all_failed >= NEED and all_failed >= all_ok) then open() end
    end
  end
end
if ARGV[1] ~= 'look' then redis.call('PEXPIRE', key, KEEP) end

local all_ok, all_failed = counts()
if wait == 0 and state() == 'open' then wait = num('until') - now end
return {granted, state(), math.ceil(wait), sure() and 1 or 0, changed, num('opens'), all_failed, all_ok + all_failed,
  h['until'] and now - num('since') or 0}
