local id = take()
local lookup = prefix .. "checkpoints"
local session = call("HGET", lookup, id)
if not session then return {"missing"} end
local places = key(session, "checkpoints")
local values = call("HMGET", places, "c:" .. id, "seq:" .. id, "name:" .. id, "pinned:" .. id)
if not values[1] then
  sweep(SWEPT_AT_ONCE)
  return {"missing"}
end
return {"done", session, unpack(values)}
