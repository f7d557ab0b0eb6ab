local session, fence = take(), take()
local head = key(session, "head")
if call("HGET", head, "fence") == fence then call("HSET", head, "owner", "", "lease_expires_at", "") end
return {"done"}
