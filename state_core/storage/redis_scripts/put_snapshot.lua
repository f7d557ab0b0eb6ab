local session, seq, encoding, body = take(), take(), take(), take()
local head, snapshots = key(session, "head"), key(session, "snapshots")
local last, first = unpack(call("HMGET", head, "last_seq", "first_seq"))
if not last or tonumber(seq) < tonumber(first or "1") then return {"missing"} end
call("HSET", snapshots, seq, encoding .. "\n" .. body)
expire_with_head(session, "snapshots")
return {"done"}
