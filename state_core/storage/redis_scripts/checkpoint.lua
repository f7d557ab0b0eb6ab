local id = take()
local lookup = prefix .. "checkpoints"
local session = call("HGET", lookup, id)
if not session then return {"missing"} end
local places = key(session, "checkpoints")
local values = call("HMGET", places, "c:" .. id, "name:" .. id, "pinned:" .. id)
if not values[1] then
  call("HDEL", lookup, id)
  sweep(SWEPT_AT_ONCE)
  return {"missing"}
end
return {"done", session, values[1], values[2], values[3]}
