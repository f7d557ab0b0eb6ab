-- Whether a head fits a query. Text is in lower case already, a tag and an agent also as JSON.

local HELD = {running = true, pausing = true, waiting = true, cancelling = true}

-- Only the fields that this query asks for are read.
local function take_filter()
  local filter = {
    since = take(), upto = take(), text = take(), tag = take(), tag_json = take(), agent = take(),
    agent_json = take(), questions = take() == "1", lease_expired = take() == "1",
    origin = take(), owner = take(), error = take(), shortest = take(), longest = take(), fields = {},
  }
  local function reads(field)
    table.insert(filter.fields, field)
    return #filter.fields
  end
  if filter.text ~= "" then
    filter.title_at, filter.workflow_at = reads("title_lower"), reads("workflow_lower")
  end
  if filter.tag ~= "" then filter.tags_at = reads("tags") end
  if filter.agent ~= "" then filter.worked_at, filter.agents_at = reads("worked"), reads("agents") end
  if filter.questions then filter.questions_at = reads("questions") end
  if filter.origin ~= "" then filter.origin_at = reads("origin") end
  if filter.owner ~= "" then filter.owner_at = reads("owner") end
  if filter.error ~= "" then filter.error_at = reads("error") end
  if filter.shortest ~= "" or filter.longest ~= "" then
    filter.started_at, filter.ended_at = reads("started_at"), reads("ended_at")
  end
  if filter.lease_expired then
    filter.status_at, filter.lease_at = reads("status"), reads("lease_expires_at")
  end
  filter.by_content = #filter.fields > 0
  filter.now = microseconds()
  return filter
end

-- Where the index has not done so already.
local function filter_by_time(filter)
  if filter.since == "" and filter.upto == "" then return end
  table.insert(filter.fields, "updated_at")
  filter.updated_at = #filter.fields
  filter.by_content = true
end

local function has_text(session, filter, values)
  local function has(part) return part and string.find(part, filter.text, 1, true) end
  return has(string.lower(session)) or has(values[filter.title_at]) or has(values[filter.workflow_at])
end

local function has_item(list, item, json)
  if not list or not string.find(list, json, 1, true) then return false end
  for _, one in ipairs(cjson.decode(list)) do
    if one == item then return true end
  end
  return false
end

-- Who has worked is not told yet of a session that an earlier version wrote; who is at work, is.
local function has_worked(filter, worked, at_work)
  return has_item(worked or at_work, filter.agent, filter.agent_json)
end

local function is_between(filter, updated)
  if not updated then return false end
  return (filter.since == "" or tonumber(updated) >= tonumber(filter.since))
    and (filter.upto == "" or tonumber(updated) < tonumber(filter.upto))
end

local function has_expired(filter, status, lease)
  return HELD[status] and lease and lease ~= "" and not lasts(lease, filter.now)
end

local function begins_with(text, part)
  return text and string.sub(text, 1, #part) == part
end

local function contains(text, part)
  return text and string.find(text, part, 1, true)
end

-- Until now where it has not ended.
local function lasted(filter, started, ended)
  if not started or started == "" then return false end
  local took = tonumber((ended and ended ~= "") and ended or filter.now) - tonumber(started)
  return (filter.shortest == "" or took >= tonumber(filter.shortest))
    and (filter.longest == "" or took <= tonumber(filter.longest))
end

-- A session that is gone may seem to fit.
local function fits(session, filter)
  local values = call("HMGET", key(session, "head"), unpack(filter.fields))
  return (not filter.updated_at or is_between(filter, values[filter.updated_at]))
    and (not filter.title_at or has_text(session, filter, values))
    and (not filter.tags_at or has_item(values[filter.tags_at], filter.tag, filter.tag_json))
    and (not filter.worked_at or has_worked(filter, values[filter.worked_at], values[filter.agents_at]))
    and (not filter.questions or tonumber(values[filter.questions_at] or "0") > 0)
    and (not filter.origin_at or begins_with(values[filter.origin_at], filter.origin))
    and (not filter.owner_at or contains(values[filter.owner_at], filter.owner))
    and (not filter.error_at or contains(values[filter.error_at], filter.error))
    and (not filter.started_at or lasted(filter, values[filter.started_at], values[filter.ended_at]))
    and (not filter.lease_at or has_expired(filter, values[filter.status_at], values[filter.lease_at]))
end
