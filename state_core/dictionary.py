"""What short bodies have in common: a dictionary for their compression, so that a body of a few hundred bytes
costs what is new in it.

Bodies in stores depend on every byte of this. It never changes; a better one gets another name in the codec.
"""

from __future__ import annotations

_FRAGMENTS = (
    '[["set",["branches","","steps","","input"],"metadata"],["remove",["context",',
    '[["append",["branches","main","memory"],[{"role":"user","content":"","created_at'
    '":"2026-11-25T22:14:14.559936+00:00","agent":"","metadata":{}}]]]',
    '["set",["questions","q1","prompt"],""],["choices"],["schema"],["intermediate_results","agent_memories"',
    '[["set",["branches","graph","steps","chat.","output"],{"messages":"1 message"}]]',
    '"parents":{"":"1f1e91b6-d94f-6724-8256-"},"run_id":"","__interrupt__","__error__","__pregel_tasks"',
    '["keep",[],{"t":"writes","task":"e859cf0b-676d-413b-e463-af3621697a98","path":"~'
    '__pregel_push, 0000000000, False","writes":[[0,"messages",["l",[877]]],[1,"branc'
    "h:to:",
    "\x82¦source¤loop¤step\x85§parents\x80",
    '["keep",[],{"t":"writes","task":"e859cf0b-676d-413b-e463-af3621697a98","path":"~'
    '__pregel_pull, __start__","writes":[[0,"messages",["l",[877]]],[1,"branch:to:cha'
    't",["w",3]]],"said":["graph","messages",[879]],"new":[[876,0,154,"Ç\x05½lÈ\x04Ó\x05º"]]}]'
    "]",
    "Ç\x9d\x05\x94½langchain_core.messages.tool«ToolMessage¬tool_call_idÇ\x9d\x05\x94½langchain_core.me"
    "ssages.human¬HumanMessage\x86§content±additional_kwargs\x80±response_metadata\x80¤type¥hu"
    "man¤nameÀ¢idÀ³model_validate_jsonºlangchain_core.messages.ai©AIMessage\x89§contentª"
    "tool_calls\x90²invalid_tool_calls\x90®usage_metadataÀ",
    '[["append",["branches","graph","memory"],[{"role":"assistant","content":"","crea'
    'ted_at":"2026-11-25T22:14:14.559936+00:00","agent":"chat"}]],["keep",[],{"t":"pu'
    't","id":"1f1e91d8-c7e5-65dc-8259-a50681cac7ee","ns":"","parent":"1f1e91d8-","val'
    'ues":{"__start__":["e"],"messages":["l",[[0,400],878]],"branch:to:chat":["w",3]}'
    ',"cv":"~602.eaa00ef5","vs":{"__start__":["__start__"]},"m":{"source":"loop"},"me'
    'mory":["graph","messages"],"new":[[877,133,20,"Ç\x05½lÙ$',
    '["keep",[],{"t":"put","id":"1f1e91d8-c811-6873-825a-85ab0e24239a","values":{"__s'
    'tart__":["D",{"messages":880}]},"by":"945831","cv":"~604.fea7439c","m":{"source"'
    ':"input"},"new":[[876,63,91,"',
    '[["keep",[],{"t":"put","id":"1f1e91d8-c7e5-65dc-8259-a50681cac7ee","values":{"me'
    'ssages":["l",[[0,401],879]],"branch:to:chat":["e"]},"cv":"~603.da4eed70","vs":{"'
    'chat":["branch:to:chat"]},"memory":["graph","messages"]}]]',
)
"""The most frequent last: the nearer to the text, the cheaper to name."""

FIRST = "".join(_FRAGMENTS).encode()
