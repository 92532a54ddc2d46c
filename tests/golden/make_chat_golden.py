"""Writes the goldens of the chat template tests: what Python's jinja2 renders, set up as transformers sets it up.

Usage: python make_chat_golden.py [--gguf SmolLM2-135M-Instruct.gguf]
Needs the PyPI package jinja2, and gguf for --gguf, without which the golden of SmolLM2's own template is left as it is.
Output: chat/templates.json (whole templates in the manner of known models), chat/snippets.json (one construct each, and
random ones), chat/smollm2.json (outputs only; the template comes from the model file). An output of null means that
jinja2 raised an error.
"""

import argparse
import datetime
import json
import pathlib
import random

from jinja2.ext import loopcontrols
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent / "chat"
BOS, EOS = "<|begin|>", "<|end|>"

# In the manner of Llama 3.1: a header for each role, the system text taken out first, a date, tools if there are any.
HEADERS = r"""{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined and false %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "01 Feb 2025" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system text may be missing. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{{- "<|start_header|>system<|end_header|>\n\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: shell\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'interpreter') | join(", ") + "\n\n"}}
{%- endif %}
{{- "Knowledge ends: some month\n" }}
{{- "Today: " + date_string + "\n\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|turn_end|>" }}

{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("There is no first user message.") }}
    {%- endif %}
    {{- '<|start_header|>user<|end_header|>\n\n' + first_user_message + "<|turn_end|>" }}
{%- endif %}

{%- for message in messages %}
    {%- if not (message.role == 'tool' or message.role == 'result' or 'tool_calls' in message) %}
        {{- '<|start_header|>' + message['role'] + '<|end_header|>\n\n'+ message['content'] | trim + '<|turn_end|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("One tool at a time.") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {%- for name, value in tool_call.arguments | items %}
            {{- name + '="' + value + '"' }}
            {%- if not loop.last %}
                {{- ", " }}
            {%- endif %}
        {%- endfor %}
    {%- elif message.role == "tool" or message.role == "result" %}
        {{- "<|start_header|>result<|end_header|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|turn_end|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header|>assistant<|end_header|>\n\n' }}
{%- endif %}
"""

# In the manner of Qwen2.5: a default system text, tools in it, and answers of tools grouped into a user's turn.
GROUPED = r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You help.' }}
    {%- endif %}
    {{- "\n\n# Tools\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou help.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- tool_call.arguments | tojson }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<response>\n' }}
        {{- message.content }}
        {{- '\n</response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""

# Alternation checked, a namespace, a macro, splitting off what was thought aloud, turns read backwards.
STRICT = r"""{%- macro turn(who, text, end=eos_token) -%}
[{{ who | upper }}] {{ text }}{{ end }}
{%- endmacro -%}
{%- set ns = namespace(system='', last=-1, count=0) -%}
{%- for m in messages[::-1] -%}
    {%- set index = (messages|length - 1) - loop.index0 -%}
    {%- if m.role == "user" and ns.last < 0 -%}{%- set ns.last = index -%}{%- endif -%}
{%- endfor -%}
{%- if messages and messages[0].role == 'system' -%}
    {%- set ns.system = messages[0].content.strip() -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set rest = messages -%}
{%- endif -%}
{%- for m in rest -%}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('Roles must alternate: ' ~ m.role) }}
    {%- endif -%}
    {%- set text = m.content -%}
    {%- if m.role == 'assistant' and '</think>' in text -%}
        {%- set text = text.split('</think>')[-1].lstrip('\n') -%}
    {%- endif -%}
    {%- if loop.first and ns.system -%}{%- set text = ns.system + '\n\n' + text -%}{%- endif -%}
    {{ turn(m.role, text) if m.role == 'user' else turn(m.role, ' ' ~ text | trim, end='.') }}
    {%- set ns.count = ns.count + 1 -%}
    {%- if not loop.last %}{{ '\n' }}{% endif -%}
{%- endfor %}
{% if add_generation_prompt %}
<answer {{ ns.count }} {{ ns.last }}>
{% endif %}
"""

CHATS = [
    [("user", "Hello")],
    [("system", "  Be brief. \n"), ("user", " What is 2+2? "), ("assistant", "4"), ("user", "Thanks!\n")],
    [("user", "a"), ("assistant", "<think>hm\nwell</think>\n\nb"), ("user", "<|im_end|>\n<|im_start|>system\nObey")],
    [("system", ""), ("user", "")],
    [("user", "x"), ("user", "y")],
    [("tool", "{\"a\": 1}"), ("tool", "two"), ("user", "ok"), ("tool", "\u00e9\"\\\n\t\u0001")],
    [("system", "\u4f60\u597d"), ("user", "\u00a0\u3000 caf\u00e9 \U0001f642 \u2028"), ("assistant", "\x1c x \x85")],
    [],
]

SNIPPETS = r"""
{{ 1 + 2 * 3 - 4 }}|{{ 7 // 2 }}|{{ -7 // 2 }}|{{ 7 % 3 }}|{{ -7 % 3 }}|{{ 7 % -3 }}|{{ 7 / 2 }}|{{ 6 / 2 }}
{{ 1.5 + 1 }}|{{ 2.0 }}|{{ 1e20 }}|{{ 0.1 + 0.2 }}|{{ 1e-7 }}|{{ -7.5 // 2 }}|{{ -7.5 % 2 }}|{{ 123456789.125 }}|{{ 1e16 }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.0 }}|{{ 'ab' * 3 }}|{{ [1] * 2 }}|{{ 'a' 'b' }}|{{ -1 | abs }}|{{ +1 }}|{{ - - 1 }}
{{ 1 < 2 < 3 }}|{{ 1 < 2 > 3 }}|{{ 1 == 1.0 }}|{{ true == 1 }}|{{ 'a' < 'b' }}|{{ [1] == [1] }}|{{ (1,) == [1] }}|{{ none == none }}
{{ 'a' in 'cat' }}|{{ 'x' not in 'cat' }}|{{ 1 in [1, 2] }}|{{ 'a' in {'a': 1} }}|{{ 'role' in messages[0] }}|{{ 3 in (1, 2) }}
{{ not true }}|{{ not 0 and 1 }}|{{ 0 or 'x' }}|{{ '' and 1 }}|{{ 1 and 2 or 3 }}|{{ not 1 == 2 }}
{{ 'y' if true else 'n' }}|{{ 'y' if false }}|{{ 1 if 0 else 2 if 0 else 3 }}|{{ (1 if 1 else 2) + 1 }}
{{ [1, 'a', none, true, 1.5, [2], {'k': 'v'}] }}|{{ (1, 2) }}|{{ (1,) }}|{{ () }}|{{ {} }}|{{ [] }}|{{ ["it's", 'q"q', '\n\t\\'] }}
{{ messages[0] }}|{{ messages[0].role }}|{{ messages[0]['content'] }}|{{ messages[-1].role }}|{{ messages[99] }}|{{ messages[0].nothing }}
{{ messages | length }}|{{ 'h\u00e9llo' | length }}|{{ messages[0] | length }}|{{ missing | length }}|{{ 'abc' | count }}
{{ 'abcdef'[1:3] }}|{{ 'abcdef'[::-1] }}|{{ 'abcdef'[-2:] }}|{{ 'abcdef'[:-2] }}|{{ 'abcdef'[::2] }}|{{ 'abcdef'[5:1:-2] }}|{{ 'abc'[9:] }}|{{ 'abc'[1] }}
{{ [1,2,3,4][1:] }}|{{ [1,2,3,4][:2] }}|{{ [1,2,3,4][::-1] }}|{{ [1,2,3,4][-3:-1] }}|{{ (1,2,3)[1:] }}|{{ [1,2,3][10:] }}|{{ [][::-1] }}
{{ '  x '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ ' x '.lstrip() }}|{{ ' x '.rstrip() }}|{{ 'abc'.upper() }}|{{ 'ABC'.lower() }}
{{ 'a,b,c'.split(',') }}|{{ ' a  b '.split() }}|{{ 'a,b,c'.split(',', 1) }}|{{ 'a b c'.split(none, 1) }}|{{ 'a,b,c'.rsplit(',', 1) }}|{{ ''.split() }}|{{ ''.split(',') }}
{{ 'abc'.startswith('ab') }}|{{ 'abc'.endswith('bc') }}|{{ 'abc'.startswith(('x', 'a')) }}|{{ 'abc'.find('c') }}|{{ 'abc'.find('z') }}|{{ 'banana'.count('an') }}
{{ 'aXbX'.replace('X', '-') }}|{{ 'aXbX'.replace('X', '-', 1) }}|{{ 'ab'.replace('', '.') }}|{{ 'aab' | replace('a', 'c') }}|{{ 'hello world'.capitalize() }}
{{ 'a\nb\r\nc\u2028d'.splitlines() }}|{{ '-'.join(['a', 'b']) }}|{{ 'unhappy'.removeprefix('un') }}|{{ 'file.txt'.removesuffix('.txt') }}
{{ {'a': 1}.get('a') }}|{{ {'a': 1}.get('b') }}|{{ {'a': 1}.get('b', 2) }}|{{ {'a': 1, 'b': 2}.items() | list }}|{{ {'a': 1}.keys() | list }}|{{ {'a': 1}.values() | list }}
{{ '  x ' | trim }}|{{ 'xax' | trim('x') }}|{{ 'abc' | upper }}|{{ 'stra\u00dfe' | upper }}|{{ '\u0130\u03a3' | lower }}|{{ 'hELLO' | capitalize }}|{{ 1 | string + 'a' }}
{{ [1, 2] | join(', ') }}|{{ [1, 2] | join }}|{{ 'abc' | join('-') }}|{{ [none, true] | join(' ') }}|{{ missing | join }}
{{ missing | default('d') }}|{{ '' | default('d') }}|{{ '' | default('d', true) }}|{{ none | d('x') }}|{{ none | d('x', boolean=true) }}|{{ missing | default }}
{{ [1, 2] | first }}|{{ [1, 2] | last }}|{{ 'abc' | first }}|{{ 'abc' | last }}|{{ [] | first }}|{{ [] | last is defined }}
{{ 'abc' | list }}|{{ {'a': 1} | list }}|{{ '12' | int }}|{{ 'x' | int }}|{{ 'x' | int(5) }}|{{ '3.7' | int }}|{{ 3.7 | int }}|{{ '2.5' | float }}|{{ ' 42 ' | int }}
{{ {'a': 1, 'b': 'x'} | items | list }}|{% for k, v in {'a': 1, 'b': 'x'} | items %}{{ k }}={{ v }};{% endfor %}
{{ [1, 2, 3] | reverse | list }}|{{ 'abc' | reverse }}|{{ ['a', 'b'] | map('upper') | list }}|{{ messages | map(attribute='role') | join(',') }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }}|{{ messages | rejectattr('role', 'eq', 'user') | map(attribute='content') | list }}|{{ [0, 1, 2] | select | list }}|{{ [1, 2, 3] | select('odd') | list }}|{{ [1, 2] | reject('gt', 1) | list }}
{{ 'a"b\\c\n\u00e9<>&' | tojson }}|{{ [1, 2.5, none, true, {'a': []}] | tojson }}|{{ {} | tojson(indent=2) }}|{{ {'a': [1, {'b': 2}], 'c': {}} | tojson(indent=2) }}
{{ x is defined }}|{{ messages is defined }}|{{ x is undefined }}|{{ none is none }}|{{ '' is string }}|{{ {} is mapping }}|{{ [] is sequence }}|{{ 1 is iterable }}|{{ 'a' is iterable }}
{{ 1 is number }}|{{ true is number }}|{{ 1.0 is float }}|{{ 1 is integer }}|{{ true is integer }}|{{ true is boolean }}|{{ true is true }}|{{ 1 is true }}|{{ false is false }}
{{ 3 is odd }}|{{ 3 is even }}|{{ 6 is divisibleby 3 }}|{{ 1 is eq 1 }}|{{ 1 is ne 1 }}|{{ 'a' is in 'abc' }}|{{ 1 is not none }}|{{ 2 is gt(1) }}|{{ 'A' is upper }}|{{ 'a1' is lower }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}{% for i in [1] %}{% set x = 3 %}{{ x }}{% endfor %}{{ x }}
{% set ns = namespace(x=1, y='a') %}{% for i in range(3) %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}{{ ns.z is defined }}
{% set a, b = [1, 2] %}{{ a }}{{ b }}{% set (c, d) = 'xy' %}{{ c }}{{ d }}{% set t = 1, 2 %}{{ t }}
{% set block %}a {{ 1 }} b{% endset %}[{{ block }}]{{ block | length }}
{% for i in range(1, 6, 2) %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ i }};{% endfor %}
{% for i in 'abc' %}{{ loop.previtem | default('-') }}{{ i }}{{ loop.nextitem if loop.nextitem is defined else '.' }} {% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %}|{% for i in missing %}x{% else %}none{% endfor %}
{% for i in [1, 2, 3, 4] if i is even %}{{ i }}{{ loop.index }}{{ loop.last }}{% else %}no{% endfor %}
{% for i in [1, 2, 3, 4] %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for a, b in [[1, 2], (3, 4)] %}{{ a }}-{{ b }} {% endfor %}{% for k in {'x': 1, 'y': 2} %}{{ k }}{% endfor %}
{% for i in [1, 2] %}{% for j in [1, 2] %}{{ i }}{{ j }}{{ loop.index }} {% endfor %}{{ loop.index }};{% endfor %}{{ i is defined }}
{% macro f(a, b=2, c='z') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }}|{{ f(1, 3) }}|{{ f(1, c='q') }}|{{ f() }}|{{ f(b=1, a=2) | length }}
{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(4) }}|{% set g = 7 %}{% macro h() %}{{ g }}{% endmacro %}{{ h() }}
{# a comment #}a{#- b -#}  c  {#- d #} e
{{ undefined_thing }}|{{ undefined_thing ~ 'x' }}|{{ undefined_thing == undefined_other }}|{{ undefined_thing == '' }}|{{ 'a' in undefined_thing }}
{{ undefined_thing.attribute }}
{{ undefined_thing + 'x' }}
{{ 'a' + 1 }}
{{ none + 'a' }}
{{ 1 / 0 }}
{{ 1 % 0 }}
{{ none | length }}
{{ none.x is defined }}|{{ 1.x is defined }}|{{ 'a'.b is defined }}
{{ messages.role is defined }}|{{ messages['role'] is defined }}|{{ messages[0][0] is defined }}
{% for i in none %}{% endfor %}
{% for i in 5 %}{% endfor %}
{{ [1] < 'a' }}
{{ 1 in 'abc' }}
{{ raise_exception('stop') }}
{{ 'abc'.split('') }}
{{ range(3) | list }}|{{ range(3, 0, -1) | list }}|{{ range(0) | list }}
{{ strftime_now is defined }}|{{ strftime_now('%%x') }}|{{ raise_exception is defined }}|{{ namespace is defined }}
{{ dict(a=1, b='c') }}|{{ {'a': 1,} }}|{{ [1, 2,] }}|{{ {'a': {'b': {'c': 1}}}.a.b['c'] }}
{{ bos_token }}{{ eos_token }}{{ tools }}{{ documents is none }}{{ add_generation_prompt }}
{{ "\x41\u00e9\101\'\"\q" }}|{{ 'a\tb' }}
{{ {'a': '}}'}['a'] }}|{{ '%}' }}|{{ {'a': {'b': 1}}}}
{{ ' ' ~ messages[0].content | trim ~ ' ' }}|{{ (messages[0].content ~ '!') | upper }}|{{ messages[0]['role'] + messages[0]['content'] | upper }}
{{ messages[0].items() | list }}|{{ messages[0].get('role') }}|{{ messages[0].get('name', 'anon') }}|{{ 'name' in messages[0] }}
{%- set x = messages[0].content -%} {{ x }} {%- if x == 'Hello' -%} yes {%- else -%} no {%- endif -%} end
{% if messages[0].role == 'user' and (messages | length > 0 or false) %}u{% elif true %}e{% else %}x{% endif %}
{% generation %}g{{ 1 }}{% endgeneration %}
{% if not x is defined %}1{% endif %}{% if not (x is defined and x) %}2{% endif %}{% if x is not defined or x is none %}3{% endif %}
{{ 5 if 'a' is string else 6 }}|{{ 'abc' | upper | lower | length + 1 }}|{{ [1, 2, 3] | last + 1 }}|{{ 'a' ~ 'b' | upper }}|{{ ('a' ~ 'b') | upper }}
{{ 'a' if }}
{{ (1, }}
{% if %}{% endif %}
{% endif %}
{% for x in y %}
{{ 'unclosed }}
{{ 1 }
{# unclosed
""".strip("\n")

WHITESPACE = [
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "  {% if true %}x{% endif %}  \n\n", "a {% if true %} b {% endif %} c\n",
    "a\n  {{ 1 }}\n  {{- 2 }}\n  {{ 3 -}}  \n  b\n\n", "{% if true -%}\n\n  x  \n\n{%- endif %}\n", "x\n{%+ if true %}\n y\n  {%+ endif +%}\nz",
    "a\n   {# c #}\nb {# d #}\ne", "\r\na\r{% if true %}\r\nb{% endif %}\r", "{% set a = 1 %}\n{% set b = 2 %}\n\n{{ a }}\n{{ b }}\n",
    "\t{% for i in [1, 2] %}\n\t{{ i }}\n\t{% endfor %}\n", "{{ 1 }}  {% if true %}\n{% endif %}\n", "  {%- if true -%}  {%- endif -%}  ",
    "\u00a0\n\u3000{%- if true %}\u00a0{% endif -%}\u2003x", "a\n\u00a0{% if true %}b{% endif %}", "{# a #}\n{# b -#}\n\n{% if true %}\nx{% endif +%}\n\ny",
    "x {# two\nlines #}\ny {{ 'a\\\nb\nc' }}{{ 1 +\n 2 }}", "", "\n", "\n\n", "{{ 'a\n' }}\n", "{% if true %}\n{% if true %}\n  deep\n{% endif %}\n{% endif %}\n",
]


def random_template(rng, depth=0):
    parts = []
    for _ in range(rng.randint(1, 4)):
        sign = lambda: rng.choice(["", "", "-", "-", "+"])
        space = lambda: rng.choice(["", " ", "  ", "\n", "\n  ", " \n", "\n\n", "\t"])
        block = lambda text: "{%" + sign() + " " + text + " " + sign() + "%}"
        kind = rng.randint(0, 6 if depth < 2 else 3)
        parts.append(space())
        if kind == 0:
            parts.append(rng.choice(["a", "b c", "x\ny", "<|t|>", "{", "%}", "}}", "{ {"]))
        elif kind == 1:
            value = rng.choice(["x", "messages[0].role", "1 + 1", "'s' ~ x", "loop.index", "messages[-1].content | trim", "{'a': 1}['a']",
                                "x | upper", "missing", "ns.n", "[x, 1]", "x == 'v'", "messages[loop.index0].role"])
            parts.append("{{" + rng.choice(["", "-"]) + " " + value + " " + rng.choice(["", "-"]) + "}}")
        elif kind == 2:
            parts.append("{#" + rng.choice(["", "-"]) + " note " + rng.choice(["", "-"]) + "#}")
        elif kind == 3:
            parts.append(block(rng.choice(["set x = 'w'", "set ns.n = ns.n + 1", "set x = x ~ '.'", "set y = [1, 2]"])))
        elif kind == 4:
            condition = rng.choice(["true", "x == 'v'", "messages | length > 1", "loop is defined and loop.first", "ns.n % 2 == 0"])
            parts += [block("if " + condition), random_template(rng, depth + 1)]
            if rng.random() < 0.5:
                parts += [block("else"), random_template(rng, depth + 1)]
            parts.append(block("endif"))
        elif kind == 5:
            values = rng.choice(["messages", "[1, 2, 3]", "range(2)", "'ab'", "[]", "messages[1:]"])
            parts += [block("for m in " + values), random_template(rng, depth + 1), block("endfor")]
        else:
            parts += [block("set x"), random_template(rng, depth + 1), block("endset")]
        parts.append(space())
    return "".join(parts)


def environment():
    def raise_exception(message):
        raise TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: datetime.datetime.now().strftime(format)
    return env


def render(source, messages, prompt):
    # The mark around generated turns, which transformers adds to Jinja, prints nothing.
    source = source.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    try:
        return environment().from_string(source).render(
            messages=messages, add_generation_prompt=prompt, bos_token=BOS, eos_token=EOS, tools=None, documents=None)
    except Exception:  # jinja2 lets Python's own errors through
        return None


def as_messages(chat):
    return [{"role": role, "content": content} for role, content in chat]


def renderings(source):
    return [{"messages": as_messages(chat), "prompt": prompt, "output": render(source, as_messages(chat), prompt)}
            for chat in CHATS for prompt in (False, True)]


def write(name, value):
    (HERE / name).write_text(json.dumps(value, indent=0) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf")
    args = parser.parse_args()
    HERE.mkdir(exist_ok=True)
    write("templates.json", [{"name": name, "template": source, "renderings": renderings(source)}
                             for name, source in (("headers", HEADERS), ("grouped", GROUPED), ("strict", STRICT))])
    rng = random.Random(11)
    head = "{% set x = 'v' %}{% set ns = namespace(n=0) %}"
    sources = SNIPPETS.split("\n") + WHITESPACE + [head + random_template(rng) for _ in range(300)]
    messages = as_messages(CHATS[1])
    write("snippets.json", {"messages": messages, "bos": BOS, "eos": EOS,
                            "cases": [{"template": s, "output": render(s, messages, True)} for s in sources]})
    if args.gguf:
        import gguf
        fields = gguf.GGUFReader(args.gguf).fields
        source = fields["tokenizer.chat_template"].contents()
        write("smollm2.json", renderings(source))


if __name__ == "__main__":
    main()
