-- Says that a call which holds a permit is still under way.
--
-- KEYS: the hash and the permits of a scope
-- ARGV: 1 the name of the permit; 2 for how long it is held from now on
-- Returns {}. A permit that has expired is not taken back: somebody else may sit there.
redis.call('ZADD', permits, 'XX', 'GT', text(clock() + tonumber(ARGV[2])), ARGV[1])
return {}
