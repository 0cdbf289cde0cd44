"""Templates and data for template_fuzz.py: snippets by hand, and generators."""
import json

# ---- data

WORDS = ["", " ", "a", "Hello", "hello world", "  padded\t", "line\nbreak\n", "<b>&'\"</b>", "x,y,,z",
         "naïve café", "你好，世界", "🙂👍🏽", "Straße ΣΑΣ ǆ", "{{ not }} {% code %}", "\\ back", "42", "3.5",
         "-7", "None", "</think>", "<think>\nhm\n</think>\n\nanswer", "UPPER lower", "tab\there",
         "a-b (c) [d] {e}", "\u00a0nbsp\u2003", "it's", 'say "hi"', "both ' and \"", "\x7f\x01", "é\u0301",
         "long " * 9, "one two  three", "true", "https://x.y/z?q=1&r=2", "0", "1e3", "ﬁ ŉ İ ı", "%d %s %%"]
KEYS = ["role", "content", "name", "a", "b", "items", "type", "get", "x y", "é", "0", "keys", "count"]


def word(rng):
    return rng.choice(WORDS)


def number(rng):
    return rng.choice([0, 1, 2, 3, -1, -2, 7, 10, 100, 255, 12345, -13, 2**31, 10**15, 0.0, 0.5, 1.5, 2.5,
                       -0.25, 1e16, 1e-5, 123456.789, 3.14159, 1e100, -2.0, 0.1, 1 / 3, rng.randint(-50, 50),
                       rng.uniform(-10, 10)])


def value(rng, depth=0):
    kind = rng.random()
    if kind < 0.35:
        return word(rng)
    if kind < 0.55:
        return number(rng)
    if kind < 0.63:
        return rng.choice([True, False])
    if kind < 0.68:
        return None
    if depth > 2:
        return word(rng)
    if kind < 0.84:
        return [value(rng, depth + 1) for _ in range(rng.randint(0, 4))]
    return {rng.choice(KEYS): value(rng, depth + 1) for _ in range(rng.randint(0, 4))}


def variables(rng):
    people = [{"name": rng.choice(["ann", "Bob", "carl", "Ann", "Żoë"]), "age": rng.randint(1, 4),
               "tags": [word(rng) for _ in range(rng.randint(0, 3))], "ok": rng.choice([True, False])}
              for _ in range(rng.randint(0, 6))]
    tree = [{"v": i, "kids": [{"v": 10 * i + j, "kids": [{"v": 7, "kids": []}] * rng.randint(0, 2)}
                              for j in range(rng.randint(0, 3))]} for i in range(rng.randint(0, 3))]
    return {"s": word(rng), "t": word(rng), "n": rng.randint(-9, 20), "m": rng.randint(-3, 3),
            "f": rng.choice([0.0, 0.5, -1.25, 2.675, 1e20, 12.0, rng.uniform(-100, 100)]), "yes": True,
            "no": False, "nil": None, "l": [value(rng) for _ in range(rng.randint(0, 5))],
            "nums": [number(rng) for _ in range(rng.randint(0, 6))],
            "ints": [rng.randint(-5, 9) for _ in range(rng.randint(0, 7))],
            "words": [word(rng) for _ in range(rng.randint(0, 5))],
            "d": {rng.choice(KEYS): value(rng) for _ in range(rng.randint(0, 5))},
            "people": people, "tree": tree, "any": value(rng),
            "msgs": [{"role": rng.choice(["user", "assistant", "system"]), "content": word(rng)}
                     for _ in range(rng.randint(0, 5))]}


# ---- conversations

def schema(rng, depth=0):
    kind = rng.choice(["string", "integer", "array", "object"] if depth < 3 else ["string", "number"])
    out = {"type": kind}
    if rng.random() < 0.5:
        out["description"] = word(rng)
    if kind == "array":
        out["items"] = schema(rng, depth + 1)
    if kind == "object":
        out["properties"] = {rng.choice(KEYS): schema(rng, depth + 1) for _ in range(rng.randint(0, 3))}
        out["required"] = rng.sample(KEYS, rng.randint(0, 2))
    if rng.random() < 0.2:
        out["enum"] = [value(rng, 3) for _ in range(3)]
    return out


def tool(rng):
    function = {"name": rng.choice(["get_weather", "search", "f"]), "description": word(rng),
                "parameters": schema(rng)}
    return {"type": "function", "function": function}


def message(rng):
    role = rng.choice(["user", "assistant", "tool", "user", "assistant", "system", "odd"])
    out = {"role": role, "content": word(rng)}
    if rng.random() < 0.1:
        out["content"] = "\n".join(word(rng) for _ in range(3))
    if rng.random() < 0.08:
        out["content"] = [{"type": "text", "text": word(rng)} for _ in range(rng.randint(0, 3))]
        if rng.random() < 0.3:
            out["content"].append({"type": "image_url", "image_url": {"url": "x"}})
    if rng.random() < 0.03:
        out["content"] = None
    if rng.random() < 0.02:
        del out["content"]
    if role == "user" and rng.random() < 0.1:
        out["content"] = "<tool_response>" + word(rng) + "</tool_response>"
    if role == "assistant" and rng.random() < 0.3:
        out[rng.choice(["reasoning_content", "thinking", "reasoning"])] = rng.choice([word(rng), None])
    if role == "assistant" and rng.random() < 0.35:
        arguments = {rng.choice(KEYS): value(rng) for _ in range(rng.randint(0, 3))}
        text = rng.random()
        calls = [{"id": "c1", "type": "function", "function": {
            "name": "f", "arguments": json.dumps(arguments) if text < 0.4 else "{bad" if text < 0.5 else arguments}}
            for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.2:
            calls = [{"name": "g", "arguments": arguments}]
        out["tool_calls"] = calls
    if role == "tool":
        out["name"] = "f"
        out["tool_call_id"] = "c1"
    return out


def chat(rng):
    messages = [message(rng) for _ in range(rng.choice([0, 1, 1, 2, 3, 4, 6, 12]))]
    if rng.random() < 0.4:
        messages.insert(0, {"role": "system", "content": word(rng)})
    kwargs = {"bos_token": "<s>", "eos_token": "</s>"}
    if rng.random() < 0.4:
        kwargs["enable_thinking"] = rng.choice([True, False, None])
    if rng.random() < 0.2:
        kwargs["custom"] = value(rng)
    continued = rng.random() < 0.1
    return {"messages": messages, "tools": rng.choice([None, None, [], [tool(rng) for _ in range(rng.randint(1, 3))]]),
            "kwargs": kwargs, "continue_final_message": continued,
            "add_generation_prompt": rng.choice([True, False]) and (not continued or rng.random() < 0.1)}


# Templates in the manner of models' own, for what the given ones do not use.
CHAT_TEMPLATES = [
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate: ' ~ m.role) }}{% endif %}{{ '[' + m.role | upper + '] ' }}"
    "{%- if m.content is string %}{{ m.content | trim }}{% else %}{% for part in m['content'] %}"
    "{{ part.text if part.type == 'text' else '<' ~ part.type ~ '>' }}{% endfor %}{% endif %}\n{% endfor %}",
    "{%- macro render(value, level=0) -%}\n{%- if value is mapping -%}\n{{ '{' }}\n"
    "{%- for key, item in value | dictsort %}{{ '  ' * level ~ key }}: {{ render(item, level + 1) }}"
    "{{- ', ' if not loop.last }}{% endfor %}{{ '}' }}\n{%- elif value is sequence and value is not string -%}\n"
    "[{% for item in value %}{{ render(item, level=level + 1) }}{% if not loop.last %}, {% endif %}{% endfor %}]\n"
    "{%- else -%}\n{{ value | tojson }}\n{%- endif -%}\n{%- endmacro -%}\n"
    "{% for t in tools or [] %}{{ render(t.function) }}\n{% endfor %}\n"
    "{% set ns = namespace(last='', n=0) %}{% for m in messages if m.content is string %}"
    "{% generation %}{{ m.role ~ '|' ~ m.content }}{% endgeneration %}{% set ns.n = ns.n + 1 %}"
    "{% set ns.last = m.role %}\n{% endfor %}{{ ns.n }}{{ ns.last }}",
    "{%- set system = messages | selectattr('role', 'equalto', 'system') | map(attribute='content') | list -%}\n"
    "{%- set others = messages | rejectattr('role', 'eq', 'system') | list %}\n"
    "<|system|>{{ system | join('\n') or 'default' }}\n{% for m in others -%}\n    {%- set text = m.get('content', '') "
    "or '' %}\n    {% if text is string and '</think>' in text %}{% set text = text.split('</think>')[-1].lstrip() %}"
    "{% endif %}\n{% if loop.last and m.role != 'assistant' %}last:{% elif loop.first %}first:{% endif %}\n"
    "{{ m.role }}: {{ text | string | indent(2) }}\n{% for c in m.tool_calls or [] %}\n"
    "  {{ c.function.name if c.function is defined else c['name'] }}({{ (c.function or c).arguments | tojson(indent=2) "
    "}})\n{% endfor %}\n{%- endfor %}\n{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
]

# ---- snippets: one construct each; S, N, L, D stand for random expressions of that type

SNIPPETS = """
{{ S | upper }}|{{ S | lower }}|{{ S | capitalize }}|{{ S | title }}
{{ S.upper() }}|{{ S.lower() }}|{{ S.capitalize() }}|{{ S.title() }}|{{ S.swapcase() }}
{{ S | trim }}|{{ S | trim('a x') }}|{{ S.strip() }}|{{ S.strip('lo ') }}|{{ S.lstrip() }}|{{ S.rstrip('\\n') }}
{{ S | length }} {{ S | count }} {{ L | length }} {{ D | length }} {{ D | count }}
{{ S.split() }} {{ S.split(',') }} {{ S.split(' ', 1) }} {{ S.split(maxsplit=1) }} {{ S.split(None, 2) }} {{ S.split('l')[-1] }}
{{ S.rsplit() }} {{ S.rsplit(' ', 1) }} {{ S.rsplit(None, 1) }} {{ S.rsplit('a') }}
{{ S.splitlines() }} {{ S.splitlines(True) }} {{ S.partition(' ') }} {{ S.rpartition('l') }}
{{ S.startswith('a') }} {{ S.startswith(('a', 'h', 'H')) }} {{ S.endswith('d') }} {{ S.endswith(('x', '>', '')) }} {{ S.startswith('e', 1) }} {{ S.endswith('l', 0, -1) }}
{{ S.replace('l', 'LL') }} {{ S.replace('', '-') }} {{ S.replace('a', '', 1) }} {{ S | replace('l', '1') }} {{ S | replace(' ', '_', 2) }} {{ S | replace('', '.') }}
{{ S.find('l') }} {{ S.rfind('l') }} {{ S.find('') }} {{ S.find('l', 3) }} {{ S.find('o', -4, -1) }} {{ S.count('l') }} {{ S.count('') }} {{ S.count('a', 2) }}
{{ S.index('l') }}
{{ S.isdigit() }} {{ S.isalpha() }} {{ S.isalnum() }} {{ S.isspace() }} {{ S.isupper() }} {{ S.islower() }} {{ S.istitle() }} {{ S.isascii() }} {{ S.isdecimal() }} {{ S.isnumeric() }}
{{ S.center(20) }}|{{ S.ljust(12, '*') }}|{{ S.rjust(12) }}|{{ S.zfill(8) }}|{{ S | center(15) }}|{{ S.expandtabs(4) }}
{{ S.removeprefix('he') }} {{ S.removesuffix('d') }} {{ '-'.join(words) }} {{ S.join(words) }} {{ ', '.join(L) }}
{{ S[0] }} {{ S[-1] }} {{ S[1:3] }} {{ S[::-1] }} {{ S[::2] }} {{ S[-3:] }} {{ S[:-1] }} {{ S[N:] }} {{ S[:N] }} {{ S[N::m or 1] }}
{{ L[0] }} {{ L[-1] }} {{ L[1:3] }} {{ L[::-1] }} {{ L[-2:] }} {{ L[:-1] }} {{ L[N:] }} {{ L[:N:2] }} {{ L[N:m:-1] }}
{{ ints[::m] }}
{{ L | first }} {{ L | last }} {{ L | list }} {{ L | reverse | list }} {{ S | reverse }} {{ S | list }} {{ S | first }} {{ S | last }}
{{ L | join }} {{ L | join(', ') }} {{ people | join('; ', attribute='name') }} {{ S | join('.') }} {{ D | join(',') }}
{{ people | map(attribute='name') | list }} {{ people | map(attribute='tags.0') | list }} {{ people | map(attribute='nope', default='?') | join(',') }} {{ words | map('upper') | list }} {{ ints | map('string') | join }}
{{ words | map('replace', 'l', 'L') | list }} {{ words | map('trim') | map('length') | list }} {{ nums | map('int') | list }} {{ nums | map('round', 1) | list }}
{{ people | selectattr('ok') | map(attribute='name') | list }} {{ people | rejectattr('ok') | list | length }} {{ people | selectattr('age', '>', 2) | list }} {{ people | selectattr('name', 'equalto', 'Bob') | first }} {{ people | selectattr('name', 'in', ['ann', 'Bob']) | list | length }}
{{ people | selectattr('missing', 'defined') | list }} {{ people | rejectattr('missing') | list | length }} {{ people | selectattr('tags.1', 'undefined') | list | length }}
{{ ints | select('odd') | list }} {{ ints | select('gt', 2) | list }} {{ ints | reject('even') | list }} {{ L | select | list }} {{ L | reject | list }} {{ ints | select('divisibleby', 3) | list }} {{ L | select('string') | list }} {{ L | reject('none') | list }}
{{ ints | sort }} {{ ints | sort(reverse=true) }} {{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ people | sort(attribute='name') | map(attribute='age') | list }} {{ people | sort(attribute='age,name') }} {{ people | sort(true, attribute='age') }}
{{ L | sort }}
{{ ints | unique | list }} {{ words | unique | list }} {{ people | unique(attribute='name') | map(attribute='name') | list }} {{ words | unique(true) | list }}
{{ ints | min }} {{ ints | max }} {{ words | min }} {{ words | max }} {{ people | min(attribute='age') }} {{ people | max(attribute='age') }} {{ nums | max }}
{{ ints | sum }} {{ nums | sum }} {{ people | sum(attribute='age') }} {{ ints | sum(start=10) }}
{{ ints | batch(3) | list }} {{ ints | batch(2, 'x') | list }} {{ ints | slice(3) | list }} {{ words | slice(2, '-') | list }}
{{ people | groupby('age') }} {% for g in people | groupby('name') %}{{ g.grouper }}:{{ g.list | length }},{% endfor %}{% for a, b in people | groupby('age') %}{{ a }}{{ b | length }};{% endfor %}
{{ D | items | list }} {{ D.items() | list }} {{ D.keys() | list }} {{ D.values() | list }} {{ D.items() }} {{ D.keys() }} {{ D.values() }} {{ D.get('a') }} {{ D.get('zz', 'none') }} {{ D.get('role', 0) }}
{{ D | dictsort }}
{{ {'b': 1, 'A': 2, 'c': 0} | dictsort }} {{ {'b': 1, 'A': 2, 'c': 0} | dictsort(true) }} {{ {'b': 1, 'A': 2} | dictsort(by='value') }} {{ {'b': 1, 'A': 2} | dictsort(reverse=true) }}
{{ D.a }} {{ D['a'] }} {{ D.items }} {{ D['items'] }} {{ D.name is defined }} {{ D.zz is undefined }} {{ D['x y'] }} {{ D.count }} {{ D.copy() }}
{{ any | tojson }} {{ L | tojson }} {{ D | tojson }} {{ S | tojson }} {{ d | tojson(indent=2) }} {{ l | tojson(indent=4) }} {{ d | tojson(sort_keys=true) }} {{ s | tojson(ensure_ascii=true) }} {{ l | tojson(separators=(',', ':')) }} {{ d | tojson(indent='--') }}
{{ any }} {{ l }} {{ d }} {{ nums }} {{ any | string }} {{ [s, t] }} {{ (s,) }} {{ (s, n) }} {{ {} }} {{ [] }} {{ () }} {{ {'k': [s, {'z': t}]} }}
{{ any | default('x') }} {{ zz | default('x') }} {{ zz | d }} {{ S | d('empty', true) }} {{ nil | default('n', boolean=true) }} {{ nil | default('n') }} {{ zz.a | default(1) }}
{{ (zz | default({})).a | default(1) }} {{ nil or 'b' }} {{ zz or s }} {{ s and t }} {{ not s }} {{ not zz }}
{{ s | int }} {{ s | int(7) }} {{ s | float }} {{ f | int }} {{ n | float }} {{ yes | int }} {{ '0x1f' | int(base=16) }} {{ 'ff' | int(0, 16) }} {{ '0b11' | int(0, 2) }} {{ nil | int(-1) }} {{ l | int(5) }}
{{ f | round }} {{ f | round(1) }} {{ f | round(2, 'floor') }} {{ f | round(1, 'ceil') }} {{ n | round }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 12345.678 | round(-2) }} {{ n | round(-1) }} {{ n | round(0, 'floor') }}
{{ n | abs }} {{ f | abs }} {{ -n | abs }}
{{ s | indent }}|{{ s | indent(2, true) }}|{{ s | indent(3, first=True, blank=True) }}|{{ s | indent('> ') }}|{{ 'a\\n\\nb\\n' | indent(2) }}
{{ s | e }} {{ s | escape }} {{ s | safe }} {{ s | forceescape }} {{ (s | e) ~ t }} {{ (s | e) + t }} {{ s | e | e }} {{ (s | safe) is escaped }} {{ s | e | upper }} {{ s | striptags }}
{{ s | wordcount }} {{ s | truncate(5) }} {{ s | truncate(6, true) }} {{ s | truncate(7, false, '..', 0) }} {{ s | urlencode }} {{ n | filesizeformat }} {{ 12345678 | filesizeformat }} {{ 12345678 | filesizeformat(true) }}
{{ '%s and %d' | format(s, n) }} {{ '%s' % s }} {{ '%5d|%-5d|%05d|%+d' % (n, n, n, n) }} {{ '%.2f %e %g' % (f, f, f) }} {{ '%x %o %X' % (n | abs, n | abs, 255) }} {{ '%(a)s' % {'a': s} }} {{ '%r' % s }} {{ '%10.3s|' % s }} {{ '%%' % () }}
{{ '{} {}'.format(s, n) }} {{ '{0}{1}{0}'.format(s, t) }} {{ '{a}-{b:>5}'.format(a=s, b=n) }} {{ '{:.2f}'.format(f) }} {{ '{:5}|{:<5}|{:^5}|{:05d}'.format(n, n, n, n) }} {{ '{:,}'.format(1234567) }} {{ '{{}}'.format() }} {{ '{!r}'.format(s) }} {{ '{0[0]}'.format(words) }} {{ '{:*^12}'.format(s) }} {{ '{:x}'.format(255) }} {{ '{:.1%}'.format(0.256) }}
{{ n + m }} {{ n - m }} {{ n * m }} {{ n ** 2 }} {{ 2 ** 0.5 }} {{ n + f }} {{ f * 2 }} {{ -n }} {{ +n }} {{ - -n }} {{ 2 ** -1 }} {{ -2 ** 2 }}
{{ n / m }} {{ n // m }} {{ n % m }}
{{ f / 3 }} {{ f // 3 }} {{ f % 3 }} {{ f // -2.5 }} {{ f % -2.5 }} {{ 7 // -2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 1e3 }} {{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1.5e-7 }} {{ 1e22 }} {{ 123456789012345680.0 }}
{{ s ~ n ~ nil ~ yes ~ f ~ l }} {{ s + t }} {{ s * 3 }} {{ l + l }} {{ l * 2 }} {{ [0] * m }} {{ (1, 2) + (3,) }} {{ 'a' 'b' "c" }}
{{ n < m }} {{ n <= m < 10 }} {{ 1 < n < 5 }} {{ n == m }} {{ n != m }} {{ s < t }} {{ s == t }} {{ l == l }} {{ d == d }} {{ 1 == 1.0 }} {{ 1 == true }} {{ '1' == 1 }} {{ [1, 2] < [1, 3] }} {{ (1, 'a') < (1, 'b') }} {{ nil == none }} {{ zz == yy }}
{{ s in t }} {{ 'a' in s }} {{ n in ints }} {{ 'a' in d }} {{ n not in ints }} {{ not n in ints }} {{ s in words }} {{ 1 in [true] }} {{ 'x' in zz }} {{ n in range(5) }}
{{ n is odd }} {{ n is even }} {{ n is divisibleby 3 }} {{ n is divisibleby(2) }} {{ n is not odd }} {{ n is number }} {{ f is float }} {{ n is integer }} {{ yes is integer }} {{ yes is boolean }} {{ yes is true }} {{ no is false }} {{ 1 is true }} {{ f is number }}
{{ any is string }} {{ any is mapping }} {{ any is iterable }} {{ any is sequence }} {{ any is number }} {{ any is none }} {{ any is defined }} {{ any is boolean }} {{ any is callable }} {{ zz is defined }} {{ zz is iterable }} {{ zz is sequence }} {{ zz is callable }} {{ zz is mapping }} {{ zz is string }} {{ zz is none }}
{{ n is eq m }} {{ n is ne m }} {{ n is lt 3 }} {{ n is gt(3) }} {{ n is ge m }} {{ n is le 0 }} {{ n is sameas m }} {{ nil is sameas none }} {{ s is in words }} {{ s is equalto t }} {{ n is greaterthan 2 }} {{ n is lessthan 2 }} {{ s is upper }} {{ s is lower }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }}
{{ 'yes' if n > 2 else 'no' }} {{ 'yes' if n > 2 }} {{ s if s else t if t else 'none' }} {{ (1 if yes else 2) + 1 }}
{{ range(5) }} {{ range(5) | list }} {{ range(2, 8, 3) | list }} {{ range(5, 0, -2) | list }} {{ range(n) | length }} {{ range(10)[2] }} {{ range(10)[2:7:2] }} {{ range(0) }} {{ range(3) | sum }}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}:{{ x }};{% else %}empty{% endfor %}
{% for x in ints %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}{{ loop.cycle('a', 'b', 'c') }}{{ loop.changed(x) }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}
{% for x in ints if x > 2 %}{{ loop.index }}/{{ loop.length }}={{ x }} {% else %}none{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }},{% endfor %}{% for k, v in d | dictsort %}{{ k }}{% endfor %}
{% for c in s %}[{{ c }}]{% endfor %}{% for a, b in [(1, 2), [3, 4], 'xy'] %}{{ a }}-{{ b }} {% endfor %}
{% for x in ints %}{% if x == 3 %}{% break %}{% endif %}{% if x is odd %}{% continue %}{% endif %}{{ x }} {% endfor %}
{% for x in ints %}{% for y in ints %}{% if y > x %}{% break %}{% endif %}{{ loop.index }}{{ y }} {% endfor %}|{{ loop.index }}{% endfor %}
{% for node in tree recursive %}<{{ node.v }}@{{ loop.depth }}{% if node.kids %}{{ loop(node.kids) }}{% endif %}>{% endfor %}
{% set x = 1 %}{% for i in ints %}{{ x }}{% set x = i %}{{ x }}{% endfor %}{{ x }}
{% set ns = namespace(x=0, seen=[]) %}{% for i in ints %}{% set ns.x = ns.x + i %}{% set ns.seen = ns.seen + [i] %}{% endfor %}{{ ns.x }}{{ ns.seen }}{{ ns.zz is defined }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (a, b) = (b, a) %}{{ a }}{{ b }}{% set c = 1, %}{{ c }}{% set a, b = words %}{{ a }}
{% set text %}  {{ s }} {% for i in ints %}{{ i }}{% endfor %}{% endset %}[{{ text }}]{% set up | upper | trim %} {{ s }} {% endset %}[{{ up }}]
{% filter upper | replace('L', '1') %}{{ s }} text{% endfilter %} {% filter indent(2) %}a\nb{% endfilter %}
{% with a = n, b = s %}{{ a }}{{ b }}{% set a = 5 %}{{ a }}{% endwith %}{{ a }}{% with %}{{ n }}{% endwith %}{% with n = n + 1 %}{{ n }}{% endwith %}{{ n }}
{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}{{ m(1, c='z') }}{{ m(b=3, a=s) }}{{ m(*[1, 2]) }}{{ m(**{'a': 1}) }}{{ m() }}
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3) }}{{ m(1, x=2) }}{{ m(a=1, z=s) }}
{% macro m(a, b=a ~ '!') %}{{ b }}{% endmacro %}{{ m(s) }} {{ m(s, 'q') }}{{ m.name }}{{ m.arguments }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, z=2) }}
{% macro m(x) %}({{ caller(x) }}){% endmacro %}{% call(v) m(s) %}v={{ v }}{{ n }}{% endcall %}
{% macro m() %}[{{ caller() }}{{ caller() }}]{% endmacro %}{% call m() %}{{ s }}{% endcall %}
{% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n * (fact(n - 1) | int) }}{% endif %}{% endmacro %}{{ fact(6) }}
{% macro outer() %}{{ v }}{% endmacro %}{% set v = 3 %}{{ outer() }}{% for v in [1] %}{{ outer() }}{% endfor %}
{% if n > 3 %}a{% elif n > 0 %}b{% elif s %}c{% else %}d{% endif %}{% if zz %}x{% endif %}{% if l %}l{% endif %}
{% if yes %}{% set q = 1 %}{% endif %}{{ q }}{% if no %}{% set r = 1 %}{% endif %}{{ r is defined }}
{# comment #}a{#- c -#} b {% raw %}{{ x }}{% y %}{% endraw %} {%- raw -%}  {{ z }}  {%- endraw -%} c
{% set j = joiner(', ') %}{% for i in ints %}{{ j() }}{{ i }}{% endfor %}{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}
{{ dict(a=1, b=s) }} {{ dict([('x', 1)], y=2) }} {{ dict(d, q=1) }} {{ {1: 'a', 'b': 2, none: 3, true: 4, 2.5: 5} }} {{ {1: 'a', 1.0: 'b', true: 'c'} }}
{{ {'a': 1}['a'] }} {{ {'a': {'b': [1, 2]}}.a.b[1] }} {{ [[1, 2], [3]][0][1] }} {{ [1, 2].index(2) }} {{ [1, 1].count(1) }} {{ (1, 2).count(1) }} {{ words.0 }} {{ l.1 }}
{{ s.nope }} {{ n.nope }} {{ l.nope }} {{ nil.nope }} {{ l[99] }} {{ s[99] }} {{ d[l] }}
{{ zz.nope }}
{{ zz.nope.deep }}
{{ nil.a.b }}
{{ zz() }}
{{ zz + 1 }}
{{ zz[0] }}
{{ s + 1 }}
{{ 1 + s }}
{{ n() }}
{{ l.append(1) }}
{{ d.update({'a': 1}) }}
{{ d.pop('a') }}
{{ d.pop is defined }} {{ l.append is defined }} {{ l.append is callable }}
{{ s.__class__ }}
{{ ''.__class__.__mro__ }}
{{ 1 / 0 }}
{{ 1 // 0 }} 
{{ [1, 2, 3] | first | string + 'a' }}
{{ ints | length > 2 }} {{ ints | length - 1 }} {{ -1 | abs }} {{ (-1) | abs }} {{ 2 * 3 | string }} {{ 'a' ~ 1 + 2 }} {{ 1 + 2 ~ 'a' }} {{ not 1 == 2 }} {{ 2 - 1 - 1 }} {{ 2 ** 3 ** 2 }} {{ 7 - 2 * 3 }} {{ (7 - 2) * 3 }} {{ 10 // 3 * 3 }}
{{ 1 if 0 else 2 }} {{ [1 if x else 2 for x in l] }}
{{ 'a' if x is defined else 'b' }} {{ 'a' if s is string and n is odd else 'b' }} {{ s is not none and s | length > 2 }} {{ s is defined and s is not none or no }}
{{ raise_exception('stop ' ~ n) }}
{% if n > 100 %}{{ raise_exception('no') }}{% endif %}fine
{{ "a\\tb\\n\\x41\\u00e9\\'\\"\\\\ \\d \\101" }} {{ 'it''s' }} {{ "multi
line" }}
{{ s | nofilter }}
{{ s is notest }}
{% if no %}{{ s | nofilter }}{% endif %}ok
{% unknown %}
{% endif %}
{% for x in l %}
{{ s
{{ (1 }}
{{ 1 ) }}
{% set x = %}
{% for x in %}{% endfor %}
{{ }}
{% if %}{% endif %}
{% break %}
{{ a b }}
{{ 'open }}
{# open
{% raw %} open
{{ 1 is odd is even }}
{% set loop = 1 %}{{ loop }}
{% block body %}{{ s }}{% endblock %}{% block tail scoped %}x{% endblock tail %}
{% print s, n %}
{{ s[1:2:3:4] }}
{{ l[1, 2] }}
{{ d is mapping and d.items() | list | length }} {{ (d | items | list)[0] }} {{ d.items() | first }} {{ d.keys() | sort }}
{% for m in msgs %}{% if loop.first and m.role == 'system' %}S{% elif m['role'] == 'user' %}{{ '<u>' + m['content'] + '</u>' }}{% else %}{{ '<a>' ~ m.content }}{% endif %}{% endfor %}
{% set msgs2 = msgs[1:] if msgs and msgs[0].role == 'system' else msgs %}{{ msgs2 | length }}{{ (msgs | last).content }}
{% generation %}{{ s }}{% set inner = 1 %}{% endgeneration %}{{ inner is defined }}
{{ people | map(attribute='name') | map('lower') | unique | sort | join('/') }} {{ people | selectattr('age', 'ge', 2) | sum(attribute='age') }}
{% set gen = ints | select('odd') %}{{ 'true' if gen }}{{ gen | list }}{{ gen | list }}
{{ ints | select('odd') | length }}
{{ (ints | map('abs'))[0] }}
{{ ints | map('abs') | first }} {{ ints | reverse | first }}
{% for x in ints | reverse %}{{ loop.index }}{{ x }}{{ loop.last }}{% endfor %}
{% for x in d.items() | list %}{{ x[0] }}{{ loop.revindex }}{% endfor %}
{{ s | string | length }} {{ n | string }} {{ nil | string }} {{ l | string }} {{ f | string }} {{ zz | string }} {{ zz | upper }} {{ zz | length }} {{ zz | list }} {{ zz | join }} {{ zz | trim }} {{ zz | first is defined }}
{{ nil | upper }} {{ n | upper }} {{ nil | trim }} {{ n | title }} {{ yes | lower }} {{ nil | replace('N', 'n') }} {{ n | replace(1, 2) }}
{{ nil | length }}
{{ n | length }}
{{ nil | list }}
{{ n | join }}
{{ n in s }}
{{ nil in l }} {{ nil in d }} {{ l in l }} {{ d in l }}
{{ l in d }}
{{ s > n }}
{{ nil < 1 }}
{{ l | sum }}
{{ l | join(n) }}
{{ (s ~ t) | replace('\\n', ' ') | trim | truncate(20, True, '') }} {{ s.strip().split('\\n')[0] }} {{ (s | trim).split(' ') | length }} {{ s.split('</think>')[-1].lstrip('\\n') }}
{% set q = {'a': 1} %}{% set q = dict(q, **{'b': 2}) %}{{ q }}{{ q | length }}{% set q = q.items() | list + [('c', 3)] %}{{ q }}
{{ [1, 2, 3] | map('string') | join(', ') }} {{ [3, 1, 2] | sort | reverse | list }} {{ [[2, 'b'], [1, 'a']] | sort }} {{ ['b', 'A', 'c'] | sort }} {{ [1, 'a'] | sort }}
{{ 'abc' | attr('upper') }} {{ d | attr('a') is defined }} {{ {'a': 1} | attr('items') is defined }}
{%- set x = 1 -%} a {%- if x -%} b {%- endif -%} c {{- x -}} d {{ x }} {#- z -#} e
{{ (1, 2, 3)[1] }} {{ (1) }} {{ (1,) }} {{ () | length }} {{ (1, 2) | list }} {{ [1, 2,] }} {{ {'a': 1,} }}
{{ 1.0 }} {{ 100.0 }} {{ 1e15 }} {{ 1e16 }} {{ 1e-4 }} {{ 1e-5 }} {{ 0.1 + 0.2 }} {{ 1/3 }} {{ 2/3 }} {{ 1e300 * 10 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }} {{ -0.0 }} {{ 123456789.123456789 }}
{{ true }} {{ True }} {{ none }} {{ None }} {{ false }} {{ true + 1 }} {{ true == 1 }} {{ [true, none] }}
{{ loop is defined }} {{ caller is defined }} {{ varargs is defined }} {{ range is defined }} {{ namespace is callable }}
{% for x in nil %}{% endfor %}
{% for x in n %}{% endfor %}
{% for x in zz %}{{ x }}{% else %}nothing{% endfor %}
{% for a, b in ints %}{% endfor %}
{% set ns = namespace() %}{% set ns.a = 1 %}{% set ns.b = ns.a + 1 %}{{ ns.a }}{{ ns['b'] }}{{ ns.c }}{% set d.x = 1 %}
{% set ns = namespace(d, z=1) %}{{ ns.z }}{{ ns.a }}
{% set ns = namespace(_x=1) %}
{% if s is string %}{{ s }}{% elif s is iterable %}{% for x in s %}{{ x }}{% endfor %}{% endif %}
{{ s | default('x') | upper | lower | trim | length }}{{ s.upper().lower().strip() | length }}
{{ '' | default('e', true) }} {{ 0 | default(1, true) }} {{ [] | default('l', true) }} {{ false | default('f', true) }}
{{ "%s" | format(l) }} {{ "%s %s" | format(d, nil) }} {{ "%d" | format(f) }} {{ "%c" % 'x' }} {{ "%5s|%-5s|" | format('a', 'b') }}
{{ "%d" % s }}
{{ "%s" % (1, 2) }}
{{ "%s %s" % (1,) }}
{{ s * -1 }}{{ s * 0 }}{{ 3 * s }}{{ 2 * l }}
{{ [1, 2, 3][m] }} {{ 'abc'[m] }} {{ 'abc'[m:] }} {{ [1, 2, 3][:m] }} {{ 'abc'[m:n] }} {{ 'abcdef'[n:m:-1] }} {{ 'äöü'[::-1] }} {{ '日本語テキスト'[1:4] }} {{ '日本語'[-1] }} {{ '日本語' | length }}
{{ s | wordcount }} {{ 'x' * 5 }} {{ '-' * 20 }} {{ '=' * n }}
""".strip("\n")


def _snippets(text):
    out, current = [], ""
    for line in text.split("\n"):
        current = current + "\n" + line if current else line
        if current.count('"multi') and not current.count('line"'):
            continue
        out.append(current)
        current = ""
    return out


SNIPPETS = _snippets(SNIPPETS)


def snippet(rng):
    text = rng.choice(SNIPPETS)
    if rng.random() < 0.5 and "{% " not in text and text.count("}} {{"):
        text = rng.choice(text.split("}} {{"))  # one of the expressions alone, so that errors do not hide others
        text = (text if text.startswith("{{") else "{{" + text) + ("" if text.endswith("}}") else "}}")
    out, i = "", 0
    while i < len(text):
        c = text[i]
        alone = (i == 0 or not (text[i - 1].isalnum() or text[i - 1] in "_'\"\\<")) and \
            (i + 1 == len(text) or not (text[i + 1].isalnum() or text[i + 1] in "_'\">"))
        if alone and c == "S":
            c = rng.choice(["s", "t", "'Hello'", "(s ~ t)", "words | join(' ')", "'a b'", repr(word(rng))])
            c = "(" + c + ")"
        elif alone and c == "N":
            c = rng.choice(["n", "m", "1", "-1", "(n - 1)", "3"])
        elif alone and c == "L":
            c = rng.choice(["l", "ints", "words", "nums", "[1, 'a', none]", "(l + ints)"])
        elif alone and c == "D":
            c = rng.choice(["d", "{'a': 1, 'b': s}", "(people | first | default({}))"])
        out += c
        i += 1
    return out


# ---- random expressions

FILTERS = ["upper", "lower", "trim", "length", "first", "last", "list", "string", "int", "float", "abs", "round",
           "sort", "unique | list", "join", "join('-')", "reverse | list", "tojson", "default('q')", "d('z', true)",
           "title", "capitalize", "max", "min", "sum", "items | list", "dictsort", "replace('a', 'b')", "indent(2)",
           "map('string') | list", "select | list", "reject('none') | list", "batch(2) | list", "e", "safe", "count",
           "map(attribute='name') | list", "selectattr('name') | list", "wordcount", "striptags", "truncate(9)",
           "center(9)", "tojson(indent=1)", "format(1)", "attr('upper')", "groupby('name') | list", "reverse",
           "map('upper')", "items", "slice(2) | list", "urlencode", "forceescape"]
TESTS = ["defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer", "float",
         "boolean", "true", "false", "odd", "even", "divisibleby 2", "callable", "eq 1", "in [1, 'a']", "lower",
         "upper", "not none", "not defined", "not string", "sameas none", "escaped", "gt 1", "equalto('a')"]
METHODS = ["upper()", "strip()", "split()", "split('a')", "lower()", "title()", "items()", "keys()", "values()",
           "get('a')", "get('zz', 1)", "count('a')", "find('a')", "startswith('a')", "endswith('o')", "index(1)",
           "replace('l', '')", "splitlines()", "lstrip('a')", "rstrip()", "name", "a", "content", "items", "0",
           "isdigit()", "join(words)", "copy()", "zfill(5)", "capitalize()", "append(1)", "format(1)", "nope", "nope()",
           "partition('a')", "rsplit('l', 1)", "swapcase()", "encode()" if False else "islower()"]
NAMES = ["s", "t", "n", "m", "f", "yes", "no", "nil", "l", "nums", "ints", "words", "d", "people", "tree", "any",
         "msgs", "zz", "range(3)", "people[0]", "msgs[0]", "dict(a=1)"]
LITERALS = ["1", "0", "2", "-1", "3.5", "'a'", "'hello'", "''", "true", "false", "none", "[]", "{}", "[1, 2]", "(1,)",
            "{'a': 1}", "['a', 'b']", "'é日'", "\"x'y\"", "1e3", "10", "(1, 'a')"]
BINARY = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or", "**"]


def expression(rng, depth=0):
    kind = rng.random()
    if depth > 3 or kind < 0.18:
        return rng.choice(NAMES)
    if kind < 0.28:
        return rng.choice(LITERALS)
    inner = expression(rng, depth + 1)
    if kind < 0.44:
        return f"{inner} | {rng.choice(FILTERS)}"
    if kind < 0.52:
        return f"{inner} is {rng.choice(TESTS)}"
    if kind < 0.60:
        return f"({inner}).{rng.choice(METHODS)}"
    if kind < 0.66:
        key = rng.choice(["0", "-1", "'a'", "'items'", "1:", ":-1", "::-1", "1:3", "n", "m:", "'name'", "::2", "s"])
        return f"({inner})[{key}]"
    if kind < 0.84:
        op = rng.choice(BINARY)
        if op == "**":  # huge powers take Python for ever
            return f"{inner} ** {rng.choice(['2', '0', '-1', '0.5', 'm'])}" if rng.random() < 0.3 else f"({inner})"
        return f"{inner} {op} {expression(rng, depth + 1)}"
    if kind < 0.90:
        return f"{inner} if {expression(rng, depth + 1)} else {expression(rng, depth + 1)}"
    if kind < 0.93:
        return f"not {inner}"
    if kind < 0.95:
        return f"-{inner}"
    if kind < 0.97:
        return f"[{inner}, {expression(rng, depth + 1)}]"
    return f"({inner})"


def expression_template(rng):
    return "{{ " + expression(rng) + " }}"


# ---- random statements

def statements(rng, depth=0, loop=False):
    return "".join(statement(rng, depth, loop) for _ in range(rng.randint(1, 3)))


def simple(rng):
    return rng.choice([*NAMES[:17], "x", "y", "loop.index", "ns.v", "x ~ y", "n + 1", "loop.last", "ints[0]", "x | string",
                       "y | default('-')", "x is defined", "mac(1)", "ns.v ~ x", "words | join"])


def statement(rng, depth, loop):
    kind = rng.random()
    if depth > 3 or kind < 0.22:
        return rng.choice(["{{ %s }}", "{{- %s }}", "{{ %s -}}", " {{ %s }} "]) % simple(rng)
    if kind < 0.34:
        return rng.choice(["text", " ", "\n", "  a\n", "\n\n  ", "|"])
    if kind < 0.46:
        # never a variable of the context: jinja2 hides it in inner scopes even before the assignment
        name = rng.choice(["x", "y", "ns.v", "x, y"])
        right = simple(rng) if name != "x, y" else f"{simple(rng)}, {simple(rng)}"
        return f"{{% set {name} = {right} %}}"
    body = statements(rng, depth + 1, loop)
    if kind < 0.58:
        tail = rng.choice(["", "{% else %}" + statements(rng, depth + 1, loop),
                           "{% elif " + simple(rng) + " %}" + statements(rng, depth + 1, loop)])
        return f"{{% if {simple(rng)} %}}{body}{tail}{{% endif %}}"
    if kind < 0.74:
        body = statements(rng, depth + 1, True)
        tail = rng.choice(["", "", "{% else %}" + statements(rng, depth + 1, loop)])
        test = rng.choice(["", "", " if " + simple(rng)])
        return f"{{%- for {rng.choice('xy')} in {rng.choice(['ints', 'words', 'l', 'd', 's', 'range(3)', 'people'])}" \
               f"{test} %}}{body}{tail}{{% endfor -%}}"
    if kind < 0.78 and loop:
        return rng.choice(["{% break %}", "{% continue %}", "{% if loop.index > 2 %}{% break %}{% endif %}"])
    if kind < 0.84:
        return f"{{% set {rng.choice('xy')} %}}{body}{{% endset %}}"
    if kind < 0.88:
        return f"{{% with x = {simple(rng)} %}}{body}{{% endwith %}}"
    if kind < 0.92:
        return f"{{% filter upper %}}{body}{{% endfilter %}}"
    if kind < 0.96:
        return f"{{% macro mac(x, y=2) %}}{statements(rng, depth + 1)}{{% endmacro %}}{{{{ mac({simple(rng)}) }}}}"
    return f"{{% generation %}}{statements(rng, depth + 1)}{{% endgeneration %}}"


def statement_template(rng):
    # recursion through mac would be endless: the innermost one is plain
    return "{% set ns = namespace(v=0) %}{% macro mac(x) %}<{{ x }}>{% endmacro %}" + statements(rng)


# ---- white space

SPACE = [" ", "  ", "\n", "\n\n", "\t", "a", "b\n", "  c", "\r\n", "\r", "\u00a0", "\u2003", "", "{", "}", "%", "#", "-",
         "{ {", "é"]


def space_template(rng):
    out = ""
    for _ in range(rng.randint(1, 9)):
        left, right = rng.choice(["", "", "-", "+"]), rng.choice(["", "", "-", "+"])
        kind = rng.random()
        out += "".join(rng.choice(SPACE) for _ in range(rng.randint(0, 4)))
        if kind < 0.3:
            out += f"{{%{left} if {rng.choice(['yes', 'no'])} {right}%}}{rng.choice(SPACE)}x{rng.choice(SPACE)}" \
                   f"{{%{rng.choice(['', '-', '+'])} endif {rng.choice(['', '-', '+'])}%}}"
        elif kind < 0.5:
            out += f"{{{{{left} n {right if right != '+' else ''}}}}}"
        elif kind < 0.65:
            out += f"{{#{left} note {right}#}}"
        elif kind < 0.75:
            out += f"{{%{left} set x = 1 {right}%}}"
        elif kind < 0.85:
            out += f"{{%{left}raw{right if right != '+' else ''}%}}{rng.choice(SPACE)}{{{{ r }}}}{rng.choice(SPACE)}" \
                   f"{{%{rng.choice(['', '-', '+'])} endraw {rng.choice(['', '-', '+'])}%}}"
        else:
            out += f"{{%{left} for i in [1, 2] {right}%}}{rng.choice(SPACE)}{{{{ i }}}}{rng.choice(SPACE)}" \
                   f"{{%{rng.choice(['', '-', '+'])} endfor {rng.choice(['', '-', '+'])}%}}"
    out += "".join(rng.choice(SPACE) for _ in range(rng.randint(0, 3)))
    return out
