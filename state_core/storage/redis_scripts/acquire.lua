local session, owner, ttl, expire = take(), take(), tonumber(take()), tonumber(take())
local head, now = key(session, "head"), microseconds()
local seq, held_by, lease = unpack(call("HMGET", head, "last_seq", "owner", "lease_expires_at"))
if not seq then return {"missing"} end
if lasts(lease, now) and held_by ~= owner then return {"held", held_by, lease} end

local fence = call("HINCRBY", head, "fence", 1)
local until_then = whole(now + ttl)
call("HSET", head, "owner", owner, "lease_expires_at", until_then)
touch(session, expire, now)
return {"done", owner, whole(fence), until_then}
