-- Whether a head fits a query. Text is in lower case already, a tag and an agent also as JSON.

local FILTERED = {
  "status", "updated_at", "title_lower", "workflow_lower", "tags", "agents", "questions", "lease_expires_at",
}
local HELD = {running = true, pausing = true, waiting = true, cancelling = true}

local function take_filter()
  local filter = {
    since = take(), upto = take(), text = take(), tag = take(), tag_json = take(), agent = take(),
    agent_json = take(), questions = take() == "1", lease_expired = take() == "1",
  }
  filter.by_content = filter.text ~= "" or filter.tag ~= "" or filter.agent ~= "" or filter.questions
    or filter.lease_expired
  filter.now = microseconds()
  return filter
end

local function has_text(session, values, text)
  for _, part in ipairs({string.lower(session), values[3] or "", values[4] or ""}) do
    if string.find(part, text, 1, true) then return true end
  end
  return false
end

local function has_item(list, item, json)
  if not list or not string.find(list, json, 1, true) then return false end
  for _, one in ipairs(cjson.decode(list)) do
    if one == item then return true end
  end
  return false
end

-- nil: the session is gone. updated_at is compared by whoever has not done so by the index.
local function fits(session, filter, compare_time)
  local values = call("HMGET", key(session, "head"), unpack(FILTERED))
  if not values[1] then return nil end
  local updated = tonumber(values[2])
  if compare_time and filter.since ~= "" and updated < tonumber(filter.since) then return false end
  if compare_time and filter.upto ~= "" and updated >= tonumber(filter.upto) then return false end
  if filter.text ~= "" and not has_text(session, values, filter.text) then return false end
  if filter.tag ~= "" and not has_item(values[5], filter.tag, filter.tag_json) then return false end
  if filter.agent ~= "" and not has_item(values[6], filter.agent, filter.agent_json) then return false end
  if filter.questions and tonumber(values[7] or "0") <= 0 then return false end
  if not filter.lease_expired then return true end
  return HELD[values[1]] and values[8] and values[8] ~= "" and not lasts(values[8], filter.now) or false
end
