local session, seq, encoding, body = take(), take(), take(), take()
local head, snapshots = key(session, "head"), key(session, "snapshots")
if call("EXISTS", head) == 0 then return {"missing"} end
call("HSET", snapshots, seq, encoding .. "\n" .. body)
local left = call("PTTL", head)
if left >= 0 then
  call("PEXPIREAT", snapshots, whole(math.floor(microseconds() / 1000) + left))
end
return {"done"}
