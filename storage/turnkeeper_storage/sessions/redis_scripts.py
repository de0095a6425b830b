"""What RedisSession changes, as scripts: each happens whole or not at all, and once although sent twice.

KEYS: the session's list, and a mark of this very call. ARGV: the list's time to live in milliseconds (0 for
ever), then the items. A client that lost an answer may send the call again; the mark, kept for a minute,
tells that it was done.
"""

from __future__ import annotations

_PUSH = """
for first = 2, #ARGV, 1000 do
  redis.call('RPUSH', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
"""
_KEEP = """
if tonumber(ARGV[1]) > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
"""

ADD = f"""
if not redis.call('SET', KEYS[2], '', 'NX', 'PX', 60000) then return 0 end
{_PUSH}{_KEEP}
return 1
"""

POP = f"""
local done = redis.call('GET', KEYS[2])
if done then return done end
local popped = redis.call('RPOP', KEYS[1])
if popped then
  redis.call('SET', KEYS[2], popped, 'PX', 60000)
  {_KEEP}
end
return popped
"""

# ARGV from the second on: place and text of an item, by turns. A place is marked first and removed then, so
# that those of the others stay as they were.
REMOVE = f"""
if not redis.call('SET', KEYS[2], '', 'NX', 'PX', 60000) then return 0 end
local marked = 0
for n = 2, #ARGV, 2 do
  local found = redis.call('LINDEX', KEYS[1], ARGV[n])
  if found == ARGV[n + 1] then
    redis.call('LSET', KEYS[1], ARGV[n], KEYS[2])
    marked = marked + 1
  end
end
if marked > 0 then
  redis.call('LREM', KEYS[1], 0, KEYS[2])
  {_KEEP}
end
return marked
"""

REPLACE = f"""
if not redis.call('SET', KEYS[2], '', 'NX', 'PX', 60000) then return 0 end
redis.call('DEL', KEYS[1])
{_PUSH}{_KEEP}
return 1
"""
