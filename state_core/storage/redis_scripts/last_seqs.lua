local found = {}
for i, session in ipairs(take_list()) do found[i] = call("HGET", key(session, "head"), "last_seq") end
return found
