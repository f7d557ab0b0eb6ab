local session, fence, ttl, expire = take(), take(), tonumber(take()), tonumber(take())
local head, now = key(session, "head"), microseconds()
local values = call("HMGET", head, "last_seq", "owner", "fence", "lease_expires_at")
local seq, owner, its_fence, lease = unpack(values)
if not seq then return {"missing"} end
if its_fence ~= fence or not lasts(lease, now) then return {"lost"} end

local until_then = whole(now + ttl)
call("HSET", head, "lease_expires_at", until_then)
touch(session, expire, now)
return {"done", owner, fence, until_then}
