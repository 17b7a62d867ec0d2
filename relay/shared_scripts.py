"""What Redis runs for us, each in one round trip. Whatever else is found under our keys is thrown away, never believed.

A window is a hash: the number of a part of it -> how many were counted in that part, by Redis' own clock. `g` names the life
of the hash, so that a process sees that Redis lost it. Needs Redis 5 or later.
"""

import hashlib
from typing import Final


class Script:
    """A Lua script, and the name by which Redis knows it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


_WINDOW: Final = """
local MOST_FIELDS = 256

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What a window counts: by part, in all, its oldest part, and the life of the hash. Drops what is old or cannot be.
local function read(key, bucket, kept, limit)
  local size = redis.pcall('HLEN', key)
  if type(size) ~= 'number' or size > MOST_FIELDS then
    redis.call('DEL', key)
  end
  local counts, total, oldest, life = {}, 0, bucket, nil
  local flat = redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    local at, count = tonumber(flat[i]), tonumber(flat[i + 1])
    if flat[i] == 'g' then
      life = flat[i + 1]
    elseif at and count and at > bucket - kept and at <= bucket and count > 0
        and count <= 4 * limit + 1000 and count == math.floor(count) then
      counts[at] = count
      total = total + count
      oldest = math.min(oldest, at)
    else
      redis.call('HDEL', key, flat[i])
    end
  end
  return counts, total, oldest, life
end
"""

TAKE: Final = Script(
    _WINDOW
    + """
-- KEYS: the window. ARGV: nonce, the life we know, wanted, limit, ms of a part, parts kept, sharers, then pairs (part, more).
-- -> nonce, life, granted (-1: this hash is another than the one you know), part, ms until there is a place, now in ms
local key, nonce, known = KEYS[1], ARGV[1], ARGV[2]
local wanted, limit, bucket_ms, kept = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now = now_ms()
local bucket = math.floor(now / bucket_ms)
local counts, total, oldest, life = read(key, bucket, kept, limit)
if not life or #life ~= #nonce then
  life = nonce
  redis.call('HSET', key, 'g', life)
end
redis.call('PEXPIRE', key, (kept + 1) * bucket_ms)
if known ~= '' and known ~= life then
  return {nonce, life, -1, bucket, 0, now}
end
for i = 8, #ARGV, 2 do
  local at = math.min(bucket, tonumber(ARGV[i]))
  if at > bucket - kept then
    local before = counts[at] or 0
    local after = math.max(0, before + tonumber(ARGV[i + 1]))
    counts[at], total = after, total + after - before
    oldest = math.min(oldest, at)
    redis.call('HSET', key, at, after)
  end
end
local free = limit - total
if free <= 0 then
  return {nonce, life, 0, bucket, (oldest + kept) * bucket_ms - now, now}
end
local granted = math.min(wanted, math.max(1, math.floor(free / tonumber(ARGV[7]))))
if granted > 0 then
  redis.call('HINCRBY', key, bucket, granted)
end
return {nonce, life, granted, bucket, 0, now}
"""
)

ATTEMPT: Final = Script(
    _WINDOW
    + """
-- KEYS: windows. ARGV: nonce, limit, ms of a part, parts kept. Counts one in each of them, or in none.
-- -> nonce, ms until there is a place in all of them (0: counted), now in ms
local limit, bucket_ms, kept = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()
local bucket = math.floor(now / bucket_ms)
local wait_ms = 0
for _, key in ipairs(KEYS) do
  local _, total, oldest = read(key, bucket, kept, limit)
  if total >= limit then
    wait_ms = math.max(wait_ms, (oldest + kept) * bucket_ms - now)
  end
end
if wait_ms == 0 then
  for _, key in ipairs(KEYS) do
    redis.call('HINCRBY', key, bucket, 1)
    redis.call('PEXPIRE', key, (kept + 1) * bucket_ms)
  end
end
return {ARGV[1], wait_ms, now}
"""
)

SUCCEEDED: Final = Script(
    _WINDOW
    + """
-- KEYS: a window to count one less in, and one to empty. ARGV: limit, ms of a part, parts kept.
local kept = tonumber(ARGV[3])
local bucket = math.floor(now_ms() / tonumber(ARGV[2]))
local counts = read(KEYS[1], bucket, kept, tonumber(ARGV[1]))
for at = bucket, bucket - kept + 1, -1 do
  if counts[at] then
    redis.call('HINCRBY', KEYS[1], at, -1)
    break
  end
end
redis.call('DEL', KEYS[2])
return 1
"""
)

BEAT: Final = Script(
    """
-- KEYS: who is there. ARGV: who we are, ms until one who is silent is gone. -> how many are there, whether we were known
local time = redis.call('TIME')
local now, silent_ms = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2])
local size = redis.pcall('ZCARD', KEYS[1])
if type(size) ~= 'number' then
  redis.call('DEL', KEYS[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - silent_ms)
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + silent_ms, '+inf')
local was_new = redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], silent_ms)
return {redis.call('ZCARD', KEYS[1]), 1 - was_new}
"""
)
