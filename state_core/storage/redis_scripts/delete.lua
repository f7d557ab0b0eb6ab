local session, expected = take(), take()
local seq, owner, lease = unpack(call("HMGET", key(session, "head"), "last_seq", "owner", "lease_expires_at"))
if not seq then return {"missing"} end
if lasts(lease, microseconds()) then return {"held", owner, lease} end
if expected ~= "" and expected ~= seq then return {"moved", expected, seq} end

for _, id in ipairs(checkpoint_ids(session)) do forget_checkpoint(session, id) end
for _, part in ipairs(PARTS) do call("UNLINK", key(session, part)) end
forget(session)
announce(session)
return {"done"}
