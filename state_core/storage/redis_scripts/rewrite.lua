-- Replace events where they stand, and remove those before a new beginning: all or nothing. Entries of a
-- stream cannot be changed, so what of an event's header is new stands beside it. Only bodies are measured
-- here; what data in headers count is told.

local session, begins, first, counted = take(), take(), take(), tonumber(take())
local head, log, bodies, beside = key(session, "head"), key(session, "log"), key(session, "bodies"), key(session, "rewritten")

local at_once = 1000

local function header_of(seq)
  local entry = call("XRANGE", log, seq .. "-0", seq .. "-0")[1]
  if not entry then return nil end
  local written = call("HGET", beside, seq) or ""
  if string.sub(written, 1, 1) == "{" then return COMPACTED, written end
  return entry[2][2], entry[2][6]
end

-- Moments are whole microseconds or text, and both compare exactly.
local function may_replace(seq, kind, header)
  local its_kind, its_header = header_of(seq)
  if not its_kind or (its_kind ~= kind and kind ~= COMPACTED) then return false end
  return cjson.decode(its_header).at == cjson.decode(header).at
end

local function remove_before(seq)
  local grown, fields = 0, {}
  local function remove()
    for _, field in ipairs(fields) do grown = grown - call("HSTRLEN", bodies, field) + PLACE_BYTES end
    call("HDEL", bodies, unpack(fields))
    call("HDEL", beside, unpack(fields))
    fields = {}
  end
  for number = tonumber(begins), seq - 1 do
    fields[#fields + 1] = whole(number)
    if #fields == at_once then remove() end
  end
  if #fields > 0 then remove() end
  call("XTRIM", log, "MINID", whole(seq) .. "-0")
  local snapshots = key(session, "snapshots")
  for _, kept in ipairs(call("HKEYS", snapshots)) do
    if tonumber(kept) < seq then call("HDEL", snapshots, kept) end
  end
  return grown
end

local found = call("HMGET", head, "last_seq", "first_seq")
if not found[1] then return {"missing"} end
if (found[2] or "1") ~= begins then return {"gone", begins} end

local records = {}
for i = 1, tonumber(take()) do
  local record = {seq = take(), kind = take(), header = take(), encoding = take(), body = take()}
  if not may_replace(record.seq, record.kind, record.header) then return {"gone", record.seq} end
  records[i] = record
end

local grown = counted
for _, record in ipairs(records) do
  grown = grown + #record.body - (call("HSTRLEN", bodies, record.seq) - PLACE_BYTES)
  call("HSET", bodies, record.seq, placed(tonumber(record.seq), record.body))
  call("HSET", beside, record.seq, record.kind == COMPACTED and record.header or record.encoding)
end
if first ~= "" then
  grown = grown + remove_before(tonumber(first))
  call("HSET", head, "first_seq", first)
end
call("HINCRBY", head, "stored_bytes", whole(grown))
expire_with_head(session, "rewritten")
return {"done"}
