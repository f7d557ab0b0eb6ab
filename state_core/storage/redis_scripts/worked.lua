-- Who has worked in a session, as its log tells up to a place, where its head does not: an earlier version wrote
-- it. Where the log has grown meanwhile, the next who reads the head tells.
local session, upto, names = take(), take(), take_list()
local head = key(session, "head")
local last, worked = unpack(call("HMGET", head, "last_seq", "worked"))
if worked or last ~= upto then return {"done"} end
call("HSET", head, "worked", "[]")
join_workers(session, names)
return {"done"}
