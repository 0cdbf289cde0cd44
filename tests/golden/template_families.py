"""Templates of our own, each with the constructs of one family of public chat templates. None is a copy: what is kept is how
the family uses Jinja, which stands beside its name. template_fuzz.py renders them over generated conversations."""

# name of the public templates: (which constructs, template)
FAMILIES = {
    "Llama 2": ("messages[1:], set in branches, != false, alternation by raise_exception, strip()", r"""
{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set top = messages[0]['content'] %}{% else %}{% set rest = messages %}{% set top = false %}{% endif %}
{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns must go user/assistant/user') }}{% endif %}
{% if loop.index0 == 0 and top != false %}{% set text = '<<S>>\n' + top + '\n<</S>>\n\n' + m['content'] %}{% else %}{% set text = m['content'] %}{% endif %}
{% if m['role'] == 'user' %}{{ bos_token + '[I] ' + text.strip() + ' [/I]' }}{% elif m['role'] == 'assistant' %}{{ ' ' + text.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""),
    "Llama 3": ("a variable set anew inside a loop, | trim behind +", r"""
{% set rest = messages %}{% for m in rest %}{% set text = '<|h|>' + m['role'] + '<|/h|>\n\n' + m['content'] | trim + '<|e|>' %}{% if loop.index0 == 0 %}{% set text = bos_token + text %}{% endif %}{{ text }}{% endfor %}{{ '<|h|>assistant<|/h|>\n\n' }}"""),
    "Llama 3.1, 3.3": ("is defined on variables and functions, strftime_now, tojson(indent=4), reject, a set of messages cut short, | items, is mapping or is iterable", r"""
{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_first is defined %}
    {%- set tools_first = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{#- the first message, where it is the system's #}
{%- if messages[0]['role'] == 'system' %}
    {%- set top = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set top = "" %}
{%- endif %}
{{- "<|h|>system<|/h|>\n\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: py\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code') | join(", ") + "\n\n" }}
{%- endif %}
{{- "Today: " + date_string + "\n\n" }}
{{- top }}
{{- "<|e|>" }}
{%- if tools_first and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first = messages[0]['content'] | trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("there is no first user message") }}
    {%- endif %}
    {{- '<|h|>user<|/h|>\n\n' -}}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
    {{- first + "<|e|>" }}
{%- endif %}
{%- for m in messages %}
    {%- if not (m.role == 'ipython' or m.role == 'tool' or 'tool_calls' in m) %}
        {{- '<|h|>' + m['role'] + '<|/h|>\n\n' + m['content'] | trim + '<|e|>' }}
    {%- elif 'tool_calls' in m %}
        {%- if not m.tool_calls | length == 1 %}
            {{- raise_exception("one call at a time") }}
        {%- endif %}
        {%- set call = m.tool_calls[0].function %}
        {%- if builtin_tools is defined and call.name in builtin_tools %}
            {{- call.name + ".call(" }}
            {%- for name, value in call.arguments | items %}
                {{- name + '="' + value + '"' }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- endif %}
            {%- endfor %}
            {{- ")" }}
        {%- else %}
            {{- '{"name": "' + call.name + '", "parameters": ' }}
            {{- call.arguments | tojson }}
            {{- "}" }}
        {%- endif %}
    {%- elif m.role == "tool" or m.role == "ipython" %}
        {{- "<|h|>ipython<|/h|>\n\n" }}
        {%- if m.content is mapping or m.content is iterable %}
            {{- m.content | tojson }}
        {%- else %}
            {{- m.content }}
        {%- endif %}
        {{- "<|e|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|h|>assistant<|/h|>\n\n' }}
{%- endif %}
"""),
    "Qwen2.5": ("neighbours by messages[loop.index0 - 1], a call that may lack .function, {{- with \\n strings", r"""
{%- if tools %}
    {{- '<s>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'Be useful.' }}
    {%- endif %}
    {{- "\n\n# T\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools></s>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<s>system\n' + messages[0]['content'] + '</s>\n' }}
    {%- endif %}
{%- endif %}
{%- for m in messages %}
    {%- if (m.role == "user") or (m.role == "system" and not loop.first) or (m.role == "assistant" and not m.tool_calls) %}
        {{- '<s>' + m.role + '\n' + m.content + '</s>' + '\n' }}
    {%- elif m.role == "assistant" %}
        {{- '<s>' + m.role }}
        {%- if m.content %}
            {{- '\n' + m.content }}
        {%- endif %}
        {%- for call in m.tool_calls %}
            {%- if call.function is defined %}
                {%- set call = call.function %}
            {%- endif %}
            {{- '\n<call>\n{"name": "' }}
            {{- call.name }}
            {{- '", "arguments": ' }}
            {{- call.arguments | tojson }}
            {{- '}\n</call>' }}
        {%- endfor %}
        {{- '</s>\n' }}
    {%- elif m.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<s>user' }}
        {%- endif %}
        {{- '\n<answer>\n' }}
        {{- m.content }}
        {{- '\n</answer>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '</s>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<s>assistant\n' }}
{%- endif %}
"""),
    "Qwen3": ("namespace with arithmetic, messages[::-1], startswith and endswith, chains of split, rstrip, lstrip with arguments, is false", r"""
{%- set ns = namespace(searching=true, last=messages|length - 1) %}
{%- for m in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and m.role == "user" and m.content is string and not(m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- if m.content is string %}
        {%- set content = m.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if m.role == "assistant" %}
        {%- set thought = '' %}
        {%- if m.reasoning_content is string %}
            {%- set thought = m.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or (not loop.last and thought)) %}
            {{- '<s>' + m.role + '\n<think>\n' + thought.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<s>' + m.role + '\n' + content }}
        {%- endif %}
        {%- if m.tool_calls %}
            {%- for call in m.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\n' }}{%- endif %}
                {%- if call.function %}{%- set call = call.function %}{%- endif %}
                {{- call.name }}
                {%- if call.arguments is string %}{{- call.arguments }}{%- else %}{{- call.arguments | tojson }}{%- endif %}
            {%- endfor %}
        {%- endif %}
    {%- else %}
        {{- '<s>' + m.role + '\n' + content + '</s>' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<s>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
"""),
    "Qwen3-Coder": ("macros with defaults, loops over the keys of a mapping, is sequence, nested tests, | safe, | string", r"""
{% macro list_of(items, tag='required') %}
    {%- if items is defined and items is iterable and items | length > 0 %}
        {%- if tag %}{{- '\n<' ~ tag ~ '>' -}}{% endif %}
        {{- '[' }}
            {%- for item in items -%}
                {%- if loop.index > 1 %}{{- ", " }}{% endif -%}
                {%- if item is string -%}{{ "`" ~ item ~ "`" }}{%- else -%}{{ item }}{%- endif -%}
            {%- endfor -%}
        {{- ']' }}
        {%- if tag %}{{- '</' ~ tag ~ '>' -}}{% endif %}
    {%- endif %}
{% endmacro %}
{%- for tool in tools or [] %}
    {%- if tool.function is defined %}{%- set tool = tool.function %}{%- endif %}
    {{- '\n<name>' ~ tool.name ~ '</name>' }}{{- '\n<text>' ~ (tool.description | trim) ~ '</text>' }}
    {%- for name, fields in tool.parameters.properties | items %}
        {{- '\n<p>' ~ name }}
        {%- if fields.type is defined %}{{- ' ' ~ (fields.type | string) }}{%- endif %}
        {%- set known = ['type', 'description', 'enum', 'required'] %}
        {%- for key in fields.keys() | reject("in", known) %}
            {%- set norm = key | replace("-", "_") | replace(" ", "_") | replace("$", "") %}
            {%- if fields[key] is mapping %}{{- '\n<' ~ norm ~ '>' ~ (fields[key] | tojson | safe) ~ '</' ~ norm ~ '>' }}
            {%- else %}{{- '\n<' ~ norm ~ '>' ~ (fields[key] | string) ~ '</' ~ norm ~ '>' }}{%- endif %}
        {%- endfor %}
        {{- list_of(fields.enum, 'enum') }}
    {%- endfor %}
    {{- list_of(tool.parameters.required) }}
{%- endfor %}
{%- for m in messages %}{{- m.role ~ ':' ~ m.content }}{{- '\n' }}
    {%- if m.tool_calls is defined and m.tool_calls is iterable and m.tool_calls | length > 0 %}
        {%- for call in m.tool_calls %}
            {%- for k, v in ((call.function or call).arguments | items) if (call.function or call).arguments is mapping %}
                {{- '<' ~ k ~ '>\n' }}{%- set v = v | tojson | safe if v is mapping or (v is sequence and v is not string) else v | string %}{{- v }}{{- '\n' }}
            {%- endfor %}
        {%- endfor %}
    {%- endif %}
{%- endfor %}"""),
    "Mistral 7B v0.1, Mixtral": ("one line, raise_exception in an else", r"""
{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if m['role'] == 'user' %}{{ '[I] ' + m['content'] + ' [/I]' }}{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token}}{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"""),
    "Mistral 7B v0.3, Nemo": ("selectattr to list, namespaces counted in loops, items() with a filter, [:-1] on dumped JSON, is not none", r"""
{%- if messages[0]["role"] == "system" %}
    {%- set top = messages[0]["content"] %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rest = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set users = rest | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for m in rest %}
    {%- if not (m.role == "tool" or m.role == "tool_results" or (m.tool_calls is defined and m.tool_calls is not none)) %}
        {%- if (m["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("after the optional system message, user and assistant take turns") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for m in rest %}
    {%- if m["role"] == "user" %}
        {%- if tools is not none and (m == users[-1]) %}
            {{- "[T] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val | tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/T]" }}
        {%- endif %}
        {%- if loop.last and top is defined %}
            {{- "[I]" + top + "\n\n" + m["content"] + "[/I]" }}
        {%- else %}
            {{- "[I]" + m["content"] + "[/I]" }}
        {%- endif %}
    {%- elif m.tool_calls is defined and m.tool_calls is not none %}
        {{- "[C] [" }}
        {%- for call in m.tool_calls %}
            {%- set out = call.function | tojson %}
            {{- out[:-1] }}
            {%- if not call.id is defined or call.id | length > 9 %}
                {{- raise_exception("an id has at most nine characters") }}
            {%- endif %}
            {{- ', "id": "' + call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif m["role"] == "assistant" %}
        {{- m["content"] + eos_token }}
    {%- elif m["role"] == "tool_results" or m["role"] == "tool" %}
        {%- if m.content is defined and m.content.content is defined %}
            {%- set content = m.content.content %}
        {%- else %}
            {%- set content = m.content %}
        {%- endif %}
        {{- '[R] {"content": ' + content | string + ", " }}
        {{- '"call_id": "' + m.tool_call_id + '"}[/R]' }}
    {%- else %}
        {{- raise_exception("what is " ~ m.role) }}
    {%- endif %}
{%- endfor %}
"""),
    "Mistral Small 3.1": ("long strings over lines, strftime_now with a set default, parts of a message, in [list]", r"""
{%- set today = strftime_now("%Y-%m-%d") %}
{%- set words = "You know much.
Today is " + today + ".

When unsure, say so \"plainly\"." %}
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- if messages[0]['content'] is string %}
        {%- set top = messages[0]['content'] %}
    {%- else %}
        {%- set top = messages[0]['content'][0]['text'] %}
    {%- endif %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set top = words %}
    {%- set rest = messages %}
{%- endif %}
{{- '[S]' + top + '[/S]' }}
{%- for m in rest %}
    {%- if m['role'] == 'user' %}
        {%- if m['content'] is string %}
            {{- '[I]' + m['content'] + '[/I]' }}
        {%- else %}
            {{- '[I]' }}
            {%- for block in m['content'] %}
                {%- if block['type'] == 'text' %}
                    {{- block['text'] }}
                {%- elif block['type'] in ['image', 'image_url'] %}
                    {{- '[IMG]' }}
                {%- else %}
                    {{- raise_exception('only text and images') }}
                {%- endif %}
            {%- endfor %}
            {{- '[/I]' }}
        {%- endif %}
    {%- elif m['role'] == 'assistant' %}
        {{- m['content'] + eos_token if m['content'] is string else m['content'][0]['text'] + eos_token }}
    {%- endif %}
{%- endfor %}"""),
    "Gemma, Gemma 2": ("raise_exception first, set role by the message's", r"""
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('there is no system role') }}{% endif %}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles take turns') }}{% endif %}{% if (m['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = m['role'] %}{% endif %}{{ '<t>' + role + '\n' + m['content'] | trim + '</t>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<t>model\n'}}{% endif %}"""),
    "Gemma 3": ("a prefix for the first turn only, inline if with parentheses, parts with | trim, is iterable after is string", r"""
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '

' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '

' -%}
    {%- endif -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}
    {%- set rest = messages -%}
{%- endif -%}
{%- for m in rest -%}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("roles take turns") }}
    {%- endif -%}
    {%- if (m['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = m['role'] -%}
    {%- endif -%}
    {{ '<t>' + role + '
' + (prefix if loop.first else "") }}
    {%- if m['content'] is string -%}
        {{ m['content'] | trim }}
    {%- elif m['content'] is iterable -%}
        {%- for item in m['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("what content is this") }}
    {%- endif -%}
    {{ '</t>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<t>model
'}}
{%- endif -%}
"""),
    "Phi-3, Phi-3.5": ("elif chains on one line, an else behind the generation prompt", r"""
{% for m in messages %}{% if m['role'] == 'system' and m['content'] %}{{'<|system|>
' + m['content'] + '<|end|>
'}}{% elif m['role'] == 'user' %}{{'<|user|>
' + m['content'] + '<|end|>
'}}{% elif m['role'] == 'assistant' %}{{'<|assistant|>
' + m['content'] + '<|end|>
'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>
' }}{% else %}{{ eos_token }}{% endif %}"""),
    "Phi-4, Phi-4-mini": ("'tools' in message and is not none, comparison chains", r"""
{% for m in messages %}{% if m['role'] == 'system' and 'tools' in m and m['tools'] is not none %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|tool|>' + m['tools'] + '<|/tool|>' }}{% elif (m['role'] == 'user') %}{{'<|user|><|sep|>' + m['content'] + '<|end|>'}}{% else %}{{ '<|' ~ m['role'] ~ '|>' ~ m['content'] ~ '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|><|sep|>' }}{% endif %}"""),
    "DeepSeek V2": ("not ... is defined with a default, text between tags kept", r"""
{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ 'User: ' + m['content'] + '

' }}{% elif m['role'] == 'assistant' %}{{ 'Assistant: ' + m['content'] + eos_token }}{% elif m['role'] == 'system' %}{{ m['content'] + '

' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""),
    "DeepSeek V3, R1": ("a namespace of flags turned in nested loops, content is none, split('</think>')[-1], arguments concatenated", r"""
{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system='') %}
{%- for m in messages %}{%- if m['role'] == 'system' %}{% set ns.system = ns.system + m['content'] %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system }}
{%- for m in messages %}
{%- if m['role'] == 'user' %}{%- set ns.is_tool = false -%}{{ '<U>' + m['content'] }}{%- endif %}
{%- if m['role'] == 'assistant' and m['content'] is none %}{%- set ns.is_tool = false -%}
{%- for call in m['tool_calls'] %}{%- if not ns.is_first %}{{ '<A><calls><call>' + call['type'] + '<sep>' + call['function']['name'] + '\n' + '```json' + '\n' + call['function']['arguments'] | tojson + '\n' + '```' + '</call>' }}{%- set ns.is_first = true -%}{%- else %}{{ '\n' + '<call>' + call['type'] + '<sep>' + call['function']['name'] + '</call>' }}{{ '</calls><E>' }}{%- endif %}{%- endfor %}{%- endif %}
{%- if m['role'] == 'assistant' and m['content'] is not none %}
{%- if ns.is_tool %}{{ '</outs>' + m['content'] + '<E>' }}{%- set ns.is_tool = false -%}
{%- else %}{% set content = m['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{ '<A>' + content + '<E>' }}{%- endif %}{%- endif %}
{%- if m['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}{{ '<outs><out>' + m['content'] + '</out>' }}{%- set ns.is_output_first = false %}{%- else %}{{ '\n<out>' + m['content'] + '</out>' }}{%- endif %}{%- endif %}
{%- endfor -%}{% if ns.is_tool %}{{ '</outs>' }}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{ '<A><think>\n' }}{% endif %}"""),
    "DeepSeek V3.1": ("flags by and/or without comparison, thinking is defined and thinking, split with a limit, loop.index0 against a namespace", r"""
{%- if not thinking is defined %}{% set thinking = false %}{% endif -%}{%- set ns = namespace(last_user=false, last=-1) -%}
{%- for m in messages %}{% if m.role == 'user' or m.role == 'developer' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor -%}
{%- for m in messages -%}
{%- if m['role'] == 'user' -%}{%- set ns.last_user = true -%}{{ '<U>' + m['content'] }}
{%- elif m['role'] == 'assistant' -%}
{%- if ns.last_user %}{{ '<A>' }}{% endif -%}
{%- if ns.last_user and thinking and loop.index0 > ns.last %}{{ '<think>' }}{% elif ns.last_user %}{{ '</think>' }}{% endif -%}
{%- set ns.last_user = false -%}{%- set content = m['content'] or '' -%}
{%- if '</think>' in content %}{%- set content = content.split('</think>', 1)[1] -%}{%- endif -%}{{ content + '<E>' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and ns.last_user -%}{{ '<A>' }}{{ '<think>' if thinking else '</think>' }}{%- endif -%}"""),
    "Command-R, Command-R+": ("macros that call themselves, a mapping as a table of types, loop.index in names, multi-line macros over tools and documents", r"""
{{ bos_token }}{%- macro python_type(spec) -%}
{%- set table = {"string": "str", "number": "float", "integer": "int", "boolean": "bool", "null": "None"} -%}
{%- if spec.type is string and table[spec.type] is defined -%}
{{- table[spec.type] -}}
{%- elif spec.type == "array" -%}
List[{{- python_type(spec['items']) if spec['items'] is defined else 'Any' -}}]
{%- elif spec.type == "object" -%}
{%- if spec.additionalProperties is defined -%}Dict[str, {{ python_type(spec.additionalProperties) }}]{%- else -%}Dict{%- endif -%}
{%- elif spec.type is iterable and spec.type is not string -%}
Union[{%- for t in spec.type -%}{{- python_type({"type": t}) -}}{%- if not loop.last -%},{%- endif -%}{%- endfor -%}]
{%- else -%}
Any
{%- endif -%}
{%- endmacro -%}
{%- macro document_turn(documents) -%}
{# the documents, as results -#}
<r>{%- for d in documents %}{{ '\n' }}Document: {{ loop.index0 }}
{% for key, value in d.items() %}{{ key }}: {{ value }}{{ '\n' }}{% endfor %}{%- endfor %}</r>
{%- endmacro -%}
{%- if messages[0]['role'] == 'system' %}{%- set rest = messages[1:] %}{%- set top = messages[0]['content'] %}{%- else %}{%- set rest = messages %}{%- set top = 'Help.' %}{%- endif %}
{{- '<S>' + top }}
{%- for tool in tools or [] %}{%- if tool.function is defined -%}{%- set tool = tool.function -%}{%- endif %}
def {{ tool.name }}({% for name, fields in tool.parameters.properties | items %}{{ name }}: {% if not name in (tool.parameters.required or []) %}Optional[{{ python_type(fields) }}] = None{% else %}{{ python_type(fields) }}{% endif %}{% if not loop.last %}, {% endif %}{% endfor %}) -> List[Dict]:
    '''{{ tool.description }}{% if tool.parameters.properties | length != 0 %}

    Args:
        {% for name, fields in tool.parameters.properties | items %}{{ '\n        ' if not loop.first }}{{ name }} ({{ python_type(fields) }}): {{ fields.description | trim if fields.description is defined and fields.description is not none }}{% endfor %}
    {% endif %}'''{{ '\n    pass\n' }}{%- endfor %}
{%- for m in rest %}{%- set content = m['content'] -%}{{ '<' ~ m.role | upper ~ '>' ~ content.strip() }}{%- endfor %}
{%- if documents %}{{ document_turn(documents) }}{%- endif %}{%- if add_generation_prompt %}{{ '<BOT>' }}{%- endif %}"""),
    "Command-R7B": ("for over range, the number of calls in a namespace, ~ of numbers, set with a block", r"""
{%- set ids = namespace(n=0, seen=[]) -%}
{%- macro result(m, at) -%}{"tool_call_id": "{{ at }}", "results": {"0": {% if m.content is string %}{"content": {{ m.content | tojson }}}{% else %}{{ m.content | tojson }}{% endif %}}, "is_error": null}{%- endmacro -%}
{%- set head %}{% if documents %}[{% for d in documents %}{"doc": {{ loop.index0 }}, "data": {{ d | tojson }}}{{ ", " if not loop.last }}{% endfor %}]{% endif %}{% endset -%}
{{ bos_token }}{{ head | trim }}
{%- for m in messages -%}
{%- if m.role | lower == 'user' %}<U>{{ m.content }}
{%- elif m.role | lower == 'tool' %}{% if loop.previtem is not defined or loop.previtem.role != 'tool' %}<R>[{% endif %}{{ result(m, ids.n) }}{% if loop.nextitem is defined and loop.nextitem.role == 'tool' %}, {% else %}]</R>{% endif %}{% set ids.n = ids.n + 1 %}
{%- elif m.tool_calls %}<P>{{ m.tool_plan or m.content }}[{% for i in range(m.tool_calls | length) %}{% set c = m.tool_calls[i] %}{"id": "{{ ids.n + i }}", "name": {{ (c.function or c).name | tojson }}}{{ ', ' if i + 1 < m.tool_calls | length }}{% endfor %}]
{%- else %}<B>{{ m.content }}{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<B>{%- endif %}"""),
    "Hermes 2 Pro, Hermes 3": ("a macro that builds types by +, nested if on parameters, 'a' in b, tojson of single fields", r"""
{%- macro kind(spec) %}
{%- set names = {"string": "str", "number": "float", "integer": "int", "boolean": "bool"} %}
{%- if names[spec.type] is defined %}
    {{- names[spec.type] }}
{%- elif spec.type == "array" %}
    {{- "list[" + kind(spec | items | list) + "]" if spec.type is mapping else "list" }}
{%- elif spec.type == "object" %}
    {%- if spec.additionalProperties is defined %}
        {{- "dict[str, " + kind(spec.additionalProperties) + ']' }}
    {%- else %}
        {{- "dict" }}
    {%- endif %}
{%- elif spec.type is iterable %}
    {{- "Union[" }}
    {%- for t in spec.type %}
        {{- kind({"type": t}) }}
        {%- if not loop.last %}
            {{- "," }}
        {%- endif %}
    {%- endfor %}
    {{- "]" }}
{%- else %}
    {{- "Any" }}
{%- endif %}
{%- endmacro %}
{{- bos_token }}
{{- '<s>system\nTools: <tools> ' }}
{%- for tool in tools or [] %}
    {%- if tool.function is defined %}
        {%- set tool = tool.function %}
    {%- endif %}
    {{- '{"type": "function", "function": ' }}
    {{- '{"name": "' + tool.name + '", ' }}
    {{- '"description": "' + tool.name + '(' }}
    {%- for name, fields in tool.parameters.properties | items %}
        {{- name + ": " + kind(fields) }}
        {%- if not loop.last %}
            {{- ", " }}
        {%- endif %}
    {%- endfor %}
    {{- ")" }}
    {%- if tool.return is defined %}
        {{- " -> " + kind(tool.return) }}
    {%- endif %}
    {{- " - " + tool.description + "\n\n" }}
    {%- for name, fields in tool.parameters.properties | items %}
        {%- if loop.first %}
            {{- "    Args:\n" }}
        {%- endif %}
        {{- "        " + name + "(" + kind(fields) + "): " + (fields.description | default('') | trim) }}
    {%- endfor %}
    {{- '", "parameters": ' }}
    {%- if tool.parameters.properties | length == 0 %}
        {{- "{}" }}
    {%- else %}
        {{- tool.parameters | tojson }}
    {%- endif %}
    {{- "}" }}
    {%- if not loop.last %}
        {{- "\n" }}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- if m.role == "tool" %}
        {%- if loop.previtem and loop.previtem.role != "tool" %}
            {{- '<s>tool\n' }}
        {%- endif %}
        {{- '<r>\n' }}
        {{- m.content }}
        {%- if not loop.last %}
            {{- '\n</r>\n' }}
        {%- else %}
            {{- '\n</r>' }}
        {%- endif %}
        {%- if not loop.last and loop.nextitem.role != "tool" %}
            {{- '</s>' }}
        {%- elif loop.last %}
            {{- '</s>' }}
        {%- endif %}
    {%- else %}
        {{- '<s>' + m.role + '\n' + m.content + '</s>' + '\n' }}
    {%- endif %}
{%- endfor %}"""),
    "SmolLM2, Yi, ChatML": ("loop.first against messages[0], text with newlines in strings", r"""
{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<s>system
You help.</s>
' }}{% endif %}{{'<s>' + m['role'] + '
' + m['content'] + '</s>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant
' }}{% endif %}"""),
    "SmolLM3": ("{% generation %}, date with %B, replace and rstrip on the system prompt, 'x' in text, set in nested ifs, tools given by other names", r"""
{# what may be turned off #}
{%- if enable_thinking is not defined -%}
{%- set enable_thinking = true -%}
{%- endif -%}
{%- if enable_thinking -%}
  {%- set mode = "/think" -%}
{%- else -%}
  {%- set mode = "/no_think" -%}
{%- endif -%}
{{- "<s>system\n" -}}
{%- if messages[0].role == "system" -%}
  {%- set top = messages[0].content -%}
  {%- if "/no_think" in top -%}
    {%- set mode = "/no_think" -%}
  {%- elif "/think" in top -%}
    {%- set mode = "/think" -%}
  {%- endif -%}
  {%- set own = top.replace("/no_think", "").replace("/think", "").rstrip() -%}
{%- endif -%}
{%- if "/system_override" in (own | default("")) -%}
  {{- own.replace("/system_override", "").rstrip() -}}
{%- else -%}
  {{- "## M\n\n" -}}{%- set today = strftime_now("%d %B %Y") -%}{{- "Today: " ~ today ~ "\n" -}}{{- "Mode: " + mode + "\n\n" -}}
  {%- if own -%}{{- own + "\n\n" -}}{%- elif mode == "/think" -%}{{- "Think <think> first </think>.\n\n" -}}{%- endif -%}
  {%- if xml_tools or tools -%}
    {%- set ns = namespace(text="list:\n\n") -%}
    {%- for tool in (xml_tools or tools) -%}
      {%- set ns.text = ns.text ~ (tool | string) ~ "\n" -%}
    {%- endfor -%}
    {{- ns.text + "</tools>\n\n" -}}
  {%- endif -%}
{%- endif -%}
{{- "</s>\n" -}}
{%- for m in messages -%}
    {%- set content = m.content if m.content is string else "" -%}
    {%- if m.role == "user" -%}
        {{ "<s>" + m.role + "\n" + content + "</s>\n" }}
    {%- elif m.role == "assistant" -%}
        {% generation %}
        {%- if mode == "/think" -%}
            {{ "<s>assistant\n" + content.lstrip("\n") + "</s>\n" }}
        {%- else -%}
            {{ "<s>assistant\n" + "<think>\n\n</think>\n" + content.lstrip("\n") + "</s>\n" }}
        {%- endif -%}
        {% endgeneration %}
    {%- elif m.role == "tool" -%}
    {{ "<s>" + "user\n" + content + "</s>\n" }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {%- if mode == "/think" -%}
        {{ "<s>assistant\n" }}
    {%- else -%}
        {{ "<s>assistant\n" + "<think>\n\n</think>\n" }}
    {%- endif -%}
{%- endif -%}
"""),
    "OLMo 2, Tulu 3": ("loop.last inside the assistant's branch, escapes in double quotes", r"""
{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ "<|system|>\n" + m['content'] + "\n" }}{% elif m['role'] == 'user' %}{{ "<|user|>\n" + m['content'] + "\n" }}{% elif m['role'] == 'assistant' %}{% if not loop.last %}{{ "<|assistant|>\n" + m['content'] + eos_token + "\n" }}{% else %}{{ "<|assistant|>\n" + m['content'] + eos_token }}{% endif %}{% endif %}{% if loop.last and add_generation_prompt %}{{ "<|assistant|>\n" }}{% endif %}{% endfor %}"""),
    "Granite 3": ("documents by key with | string, controls as a mapping with items and get, %B %d, tools | tojson(indent=4), a system prompt put together by +", r"""
{%- if messages[0]['role'] == 'system' %}{%- set top = messages[0]['content'] %}{%- set rest = messages[1:] %}
{%- else %}{%- set top = "Cutoff: April 2024.\nToday: " + strftime_now('%B %d, %Y') + ".\nYou are G." %}
    {%- if tools and documents %}{%- set top = top + " Tools and documents." %}
    {%- elif tools %}{%- set top = top + " Tools." %}
    {%- elif documents %}{%- set top = top + " Documents." %}
    {%- elif thinking %}{%- set top = top + " Think." %}{%- endif %}
    {%- if 'citations' in controls and documents %}{%- set top = top + '\nCite.' %}{%- endif %}
    {%- set rest = messages %}{%- endif %}
{{- '<r>system</r>' + top + '<e>\n' }}
{%- if tools %}{{- '<r>tools</r>' }}{{- tools | tojson(indent=4) }}{{- '<e>\n' }}{%- endif %}
{%- if documents %}{%- for d in documents %}{{- '<r>document ' + (d['doc_id'] | default(loop.index) | string) + '</r>' + d['text'] + '<e>\n' }}{%- endfor %}{%- endif %}
{%- for m in rest %}
{{- '<r>' + m['role'] + '</r>' + m['content'] + '<e>\n' }}
{%- if loop.last and add_generation_prompt %}
{{- '<r>assistant' }}{%- if controls %}{{- ' ' + controls | tojson() }}{%- endif %}{{- '</r>' }}
{%- endif %}
{%- endfor %}"""),
    "GLM-4": ("for with if over tools, nested raise, tool text built inline", r"""
[g]<p>{% if tools is not none %}<|system|>
You have tools.{% for tool in tools if tool['type'] == 'function' %}

## {{ tool['function']['name'] }}

{{ tool['function'] | tojson(indent=4, ensure_ascii=false) }}
{% else %}
none of them
{% endfor %}{% endif %}{% for item in messages %}{% if item['tools'] is defined %}<|tools|>{{ item.tools }}{% endif %}{% if item['content'] %}<|{{ item['role'] }}|>{{ item['metadata'] }}
{{ item['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""),
    "GLM-4.5": ("a macro that tells strings, lists and mappings apart, v if ... else v | tojson(ensure_ascii=False), for .. in .items(), negative indices kept in a namespace", r"""
[g]<p>
{%- macro visible(content) -%}
    {%- if content is string -%}
        {{- content }}
    {%- elif content is iterable and content is not mapping -%}
        {%- for item in content -%}
            {%- if item is mapping and item.type == 'text' -%}
                {{- item.text }}
            {%- elif item is string -%}
                {{- item }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{- content }}
    {%- endif -%}
{%- endmacro -%}
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}
    {%- if m.role == 'user' %}
        {% set ns.last = loop.index0 -%}
    {%- endif %}
{%- endfor %}
{% for m in messages %}
{%- if m.role == 'user' -%}<|user|>
{{ visible(m.content) }}
{{- '/nothink' if (enable_thinking is defined and not enable_thinking and not visible(m.content).endswith("/nothink")) else '' -}}
{%- elif m.role == 'assistant' -%}
<|assistant|>
{%- set thought = '' %}
{%- set content = visible(m.content) %}
{%- if m.reasoning_content is string %}
    {%- set thought = m.reasoning_content %}
{%- else %}
    {%- if '</think>' in content %}
        {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\n') %}
    {%- endif %}
{%- endif %}
{%- if loop.index0 > ns.last and thought -%}
{{ '\n<think>' + thought.strip() + '</think>' }}
{%- else -%}
{{ '\n<think></think>' }}
{%- endif -%}
{%- if content.strip() -%}
{{ '\n' + content.strip() }}
{%- endif -%}
{% if m.tool_calls %}
{% for tc in m.tool_calls %}
{%- if tc.function %}
    {%- set tc = tc.function %}
{%- endif %}
{{ '\n<call>' + tc.name }}
{% set args = tc.arguments %}
{% for k, v in args.items() %}
<k>{{ k }}</k>
<v>{{ v | tojson(ensure_ascii=False) if v is not string else v }}</v>
{% endfor %}
</call>{% endfor %}
{% endif %}
{%- elif m.role == 'tool' -%}
{%- if m.content is string -%}
{%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
    {{- '<|observation|>' }}
{%- endif %}
{{- '\n<r>\n' }}
{{- m.content }}
{{- '\n</r>' }}
{%- else -%}
<|observation|>{% for tr in m.content %}

<r>
{{ tr.output if tr.output is defined else tr }}
</r>{% endfor -%}
{% endif -%}
{%- elif m.role == 'system' -%}
<|system|>
{{ visible(m.content) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    <|assistant|>{{- '\n<think></think>' if (enable_thinking is defined and not enable_thinking) else '' -}}
{%- endif -%}"""),
    "InternLM2": ("bos_token in front, one expression a message", r"""
{{ bos_token }}{% for m in messages %}{{'<|s|>' + m['role'] + '
' + m['content'] + '<|e|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|s|>assistant
' }}{% endif %}"""),
    "Zephyr": ("every tag on a line of its own: trim_blocks and lstrip_blocks", r"""
{% for m in messages %}
{% if m['role'] == 'user' %}
{{ '<|user|>
' + m['content'] + eos_token }}
{% elif m['role'] == 'system' %}
{{ '<|system|>
' + m['content'] + eos_token }}
{% elif m['role'] == 'assistant' %}
{{ '<|assistant|>
'  + m['content'] + eos_token }}
{% endif %}
    {% if loop.last and add_generation_prompt %}
  {{ '<|assistant|>' }}
    {% endif %}
{% endfor %}"""),
    "Falcon, OpenChat": ("title(), loop.first, replace chains, not loop.first", r"""
{% for m in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}{% if m['role'] == 'system' %}{{ m['content'] }}{% else %}{{ ('GPT ' + m['role'].title()) + ': ' + m['content'].replace('\r\n', '\n').replace('\n\n', '\n') | trim }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '\n' + 'GPT Assistant:' }}{% endif %}"""),
    "Nemotron Nano v2, Llama-Nemotron": ("flags from '/think' in content, replace of marks, namespaces in loops over reversed messages, | length > 0, is not none", r"""
{%- set ns = namespace(think=true, last=-1) -%}
{%- for m in messages -%}{%- set content = m['content'] -%}
{%- if m['role'] == 'user' or m['role'] == 'system' -%}
{%- if '/think' in content.replace('</think>', '') -%}{%- set ns.think = true -%}{%- elif '/no_think' in content -%}{%- set ns.think = false -%}{%- endif -%}
{%- endif -%}{%- endfor -%}
{%- for m in messages | reverse -%}{%- if m.role == 'assistant' and ns.last < 0 -%}{%- set ns.last = loop.revindex0 -%}{%- endif -%}{%- endfor -%}
{{- bos_token -}}
{%- if messages[0]['role'] != 'system' -%}{{- '<SPECIAL_10>System\n' -}}{%- else -%}{{- '<SPECIAL_10>System\n' + messages[0]['content'].replace('/think', '').replace('/no_think', '').strip() -}}{%- endif -%}
{%- if tools is not none and tools | length > 0 -%}{{- '\n<AVAILABLE>[' -}}{%- for t in tools -%}{{- (t.function if t.function is defined else t) | tojson -}}{{- ', ' if not loop.last else '' -}}{%- endfor -%}{{- ']</AVAILABLE>' -}}{%- endif -%}
{%- for m in messages -%}
{%- if m.role == 'user' -%}{{- '\n<SPECIAL_11>User\n' + m.content.replace('</think>', '<_end>').replace('/think', '').replace('/no_think', '').replace('<_end>', '</think>').strip() + '\n' -}}
{%- elif m.role == 'assistant' -%}{%- set content = m.content.strip() -%}{%- if '</think>' in content and loop.index0 != ns.last -%}{%- set content = content.split('</think>')[1].strip() -%}{%- endif -%}{{- '<SPECIAL_11>Assistant\n' + content -}}{{- '\n<SPECIAL_12>\n' if not loop.last or add_generation_prompt -}}
{%- endif -%}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<SPECIAL_11>Assistant\n' -}}{%- if not ns.think -%}{{- '<think></think>' -}}{%- else -%}{{- '<think>\n' -}}{%- endif -%}{%- endif -%}"""),
    "gpt-oss": ("macros with many parameters called by name, enums joined by loops, recursion over properties, defaults, raise with ~, the next message looked at", r"""
{%- macro ts(spec, required, nullable=false) -%}
    {%- if spec.type == "array" -%}
        {%- if spec['items'] -%}
            {%- if spec['items']['type'] == "string" -%}{{- "string[]" }}
            {%- elif spec['items']['type'] in ["number", "integer"] -%}{{- "number[]" }}
            {%- else -%}{%- set inner = ts(spec['items'], required) -%}{%- if inner == "object | object" or inner | length > 50 -%}{{- "any[]" }}{%- else -%}{{- inner + "[]" }}{%- endif -%}{%- endif -%}
            {%- if nullable -%}{{- " | null" }}{%- endif -%}
        {%- else -%}{{- "any[]" }}{%- endif -%}
    {%- elif spec.type is defined and spec.type is iterable and spec.type is not string and spec.type is not mapping and spec.type[0] is defined -%}
        {%- if spec.type | length > 1 -%}{{- spec.type | join(" | ") }}{%- else -%}{{- spec.type[0] }}{%- endif -%}
    {%- elif spec.oneOf -%}
        {%- for variant in spec.oneOf -%}{{- ts(variant, required) -}}{%- if variant.description %}{{- "// " + variant.description }}{%- endif -%}{%- if not loop.last %}{{- " | " }}{% endif -%}{%- endfor -%}
    {%- elif spec.type == "string" -%}
        {%- if spec.enum -%}{{- '"' + spec.enum | map('string') | join('" | "') + '"' -}}{%- else -%}{{- "string" }}{%- if spec.nullable %}{{- " | null" }}{%- endif -%}{%- endif -%}
    {%- elif spec.type in ["number", "integer"] -%}{{- "number" }}
    {%- elif spec.type == "object" -%}
        {%- if spec.properties -%}{{- "{\n" }}
            {%- for name, prop in spec.properties.items() -%}{{- name -}}{%- if name not in (spec.required or []) -%}{{- "?" }}{%- endif -%}{{- ": " }}{{ ts(prop, spec.required or [], nullable=prop.nullable or false) }}{%- if not loop.last -%}{{-", " }}{%- endif -%}{%- endfor -%}
            {{- "}" }}
        {%- else -%}{{- "object" }}{%- endif -%}
    {%- else -%}{{- "any" }}{%- endif -%}
{%- endmacro -%}
{%- macro namespace_of(title, tools) -%}
    {{- "## " + title + "\n\n" }}
    {%- for tool in tools %}{%- set tool = tool.function %}{{- "// " + tool.description + "\n" }}{{- "type " + tool.name + " = " }}
        {%- if tool.parameters and tool.parameters.properties %}{{- "(_: {\n" }}
            {%- for name, spec in tool.parameters.properties.items() %}
                {%- if spec.description %}{{- "// " + spec.description + "\n" }}{%- endif %}{{- name }}{%- if name not in (tool.parameters.required or []) -%}{{- "?" }}{%- endif -%}{{- ": " }}{{- ts(spec, tool.parameters.required or []) }}
                {%- if spec.default is defined -%}{%- if spec.enum %}{{- ", // default: " + spec.default }}{%- elif spec.oneOf %}{{- "// default: " + spec.default }}{%- else %}{{- ", // default: " + spec.default | tojson }}{%- endif -%}{%- endif -%}
                {%- if not loop.last %}{{- ",\n" }}{%- else %}{{- "\n" }}{%- endif -%}
            {%- endfor %}{{- "}) => any;\n\n" }}
        {%- else -%}{{- "() => any;\n\n" }}{%- endif -%}
    {%- endfor %}
{%- endmacro -%}
{%- if not model_identity is defined %}{%- set model_identity = "You are G." %}{%- endif %}{{- "<|start|>system<|m|>" + model_identity + "\nDate: " + strftime_now("%Y-%m-%d") + "\n\nReasoning: " + (reasoning_effort if reasoning_effort is defined else "medium") + "<|end|>" }}
{%- if messages[0].role == "developer" or messages[0].role == "system" %}{%- set top = messages[0].content %}{%- set rest = messages[1:] %}{%- else %}{%- set top = "" %}{%- set rest = messages %}{%- endif %}
{%- if top or tools %}{{- "<|start|>developer<|m|>" }}{%- if top %}{{- "# I\n\n" + top }}{%- endif %}{%- if tools -%}{{- "\n\n# Tools\n\n" }}{{- namespace_of("functions", tools) }}{%- endif -%}{{- "<|end|>" }}{%- endif %}
{%- set last_call = namespace(name=none) %}
{%- for m in rest -%}
    {%- if m.role == 'assistant' -%}
        {%- if "<|c|>" in m.content %}{{- raise_exception("marks do not belong there: " ~ m.content) }}{%- endif %}
        {%- if m.tool_calls %}
            {%- set future = namespace(found=false) %}
            {%- for later in rest[loop.index:] %}{%- if later.role == 'assistant' and not later.tool_calls %}{%- set future.found = true %}{%- endif %}{%- endfor %}
            {%- if m.thinking and not future.found %}{{- "<|start|>assistant<|c|>analysis<|m|>" + m.thinking + "<|end|>" }}{%- endif %}
            {%- set call = m.tool_calls[0] %}{%- if call.function %}{%- set call = call.function %}{%- endif %}
            {{- "<|start|>assistant to=functions." + call.name + "<|m|>" + call.arguments | tojson + "<|call|>" }}{%- set last_call.name = call.name %}
        {%- elif loop.last and not add_generation_prompt %}
            {%- if m.thinking %}{{- "<|start|>assistant<|c|>analysis<|m|>" + m.thinking + "<|end|>" }}{%- endif %}{{- "<|start|>assistant<|c|>final<|m|>" + m.content + "<|return|>" }}
        {%- else %}{{- "<|start|>assistant<|c|>final<|m|>" + m.content + "<|end|>" }}{%- set last_call.name = none %}{%- endif %}
    {%- elif m.role == 'tool' -%}
        {%- if last_call.name is none %}{{- raise_exception("a tool's answer without a call") }}{%- endif %}{{- "<|start|>functions." + last_call.name + "<|m|>" + m.content | tojson + "<|end|>" }}
    {%- elif m.role == 'user' -%}{{- "<|start|>user<|m|>" + m.content + "<|end|>" }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|start|>assistant{%- endif -%}"""),
    "Kimi-K2": ("tojson(separators=...), set with a filter of a list, else of a for, get with a default", r"""
{%- if tools -%}<|s|>tool_declare<|m|>{{ tools | tojson(separators=(',', ':')) }}<|e|>{%- endif -%}
{%- for m in messages -%}
  {%- if loop.first and messages[0]['role'] != 'system' -%}<|s|>system<|m|>You are K.<|e|>{%- endif -%}
  {%- set name = m.get('name') or m['role'] -%}
  {%- if m['role'] == 'user' -%}<|u|>{{ name }}<|m|>{%- elif m['role'] == 'assistant' -%}<|a|>{{ name }}<|m|>{%- else -%}<|s|>{{ name }}<|m|>{%- endif -%}
  {%- if m['role'] == 'assistant' and m.get('tool_calls') -%}
    {%- if m['content'] -%}{{ m['content'] }}{%- endif -%}<|calls|>
    {%- for call in m['tool_calls'] -%}{%- set id = call.get('id', loop.index0) -%}<|call|>{{ id }}<|arg|>{% if call['function']['arguments'] is string %}{{ call['function']['arguments'] }}{% else %}{{ call['function']['arguments'] | tojson }}{% endif %}<|/call|>{%- endfor -%}<|/calls|>
  {%- elif m['role'] == 'tool' -%}## of {{ m.tool_call_id }}
{{ m['content'] }}
  {%- elif m['content'] is string -%}{{ m['content'] }}
  {%- elif m['content'] is not none -%}{% for part in m['content'] -%}{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}<|media|>{% else %}{{ part['text'] }}{%- endif -%}{%- else -%}nothing{%- endfor -%}{%- endif -%}<|e|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|a|>assistant<|m|>{%- endif -%}"""),
    "EXAONE, Solar, Vicuna": ("capitalize and upper on roles, first and last filters, sort and unique, joins with map", r"""
{%- set roles = messages | map(attribute='role') | unique | list -%}{{ roles | sort | join(',') }}|{{ (messages | first).role if messages }}|{{ (messages | last).role | default('none') if messages }}
{% for m in messages -%}
{{ '### ' ~ m.role | capitalize ~ ':' }} {{ m.content if m.content is string else m.content | map(attribute='text', default='?') | join(' / ') }}{{ m | tojson if m.tool_calls or m.thinking }}
{% endfor %}{% if add_generation_prompt %}### Assistant:{% endif %}"""),
    "Functionary, Jamba": ("recursive loops, call blocks, {% filter %}, {% with %}, break and continue", r"""
{%- macro wrap(tag) -%}<{{ tag }}>{{ caller() }}</{{ tag }}>{%- endmacro -%}
{%- for t in tools or [] %}{% call wrap(t.function.name) %}{% for key, value in t.function.parameters.items() recursive %}{{ loop.depth }}{{ key }}{% if value is mapping %}({{ loop(value.items()) }}){% endif %}{{ ',' if not loop.last }}{% endfor %}{% endcall %}
{% endfor -%}
{%- for m in messages %}{% if m.role == 'odd' %}{% continue %}{% endif %}{% if loop.index > 9 %}{% break %}{% endif %}{% with text = m.content %}{% filter upper | trim %}{{ m.role }}: {{ text }}{% endfilter %}{% endwith %}
{% endfor -%}"""),
    "MiniMax-M2, Seed-OSS": ("namespaces of text built by ~, loop.cycle, is in, numbers formatted, ternaries within ~", r"""
{%- set ns = namespace(text='', budget=thinking_budget | default(-1)) -%}
{%- if ns.budget is number and ns.budget > 0 -%}{%- set step = 128 if ns.budget <= 1024 else 512 -%}{{ 'budget %d of %s' | format(ns.budget, step) }}{{ '\n' }}{%- elif ns.budget is in [0, '0'] -%}none{{ '\n' }}{%- endif -%}
{%- for m in messages -%}
{%- set ns.text = ns.text ~ ('~b]' if loop.first else '[e~]\n]~b]') ~ ('ai' if m.role is in ['assistant', 'model'] else m.role) ~ '\n' ~ (m.content if m.content is string else '') -%}
{{ loop.cycle('', '.') }}
{%- endfor -%}
{{ ns.text }}{{ '[e~]\n]~b]ai\n<think>\n' if add_generation_prompt }}"""),
}


# ---- conversations as such templates expect them: turns that follow one another, calls that are answered

EXTRAS = {"date_string": ["26 Jul 2024", ""], "builtin_tools": [["code", "search"], ["f"]], "thinking": [True, False], "controls": [{"length": "short"}, {"citations": 1}],
          "thinking_budget": [0, 512, 4096, "0"], "reasoning_effort": ["low", "high"], "model_identity": ["You are 名."], "tools_first": [True, False],
          "enable_thinking": [True, False], "xml_tools": [["<a/>"]]}


def parameters(rng, corpus, depth=0):
    kind = rng.choice(["string", "number", "integer", "boolean", "array", "object", ["string", "null"]] if depth < 2 else ["string", "integer"])
    spec = {"type": kind, "description": corpus.word(rng)}
    if kind == "array":
        spec["items"] = parameters(rng, corpus, depth + 1)
    elif kind == "object":
        spec["properties"] = {rng.choice(corpus.KEYS): parameters(rng, corpus, depth + 1) for _ in range(rng.randint(0, 2))}
        if rng.random() < 0.3:
            spec["additionalProperties"] = {"type": "integer"}
    elif kind == "string" and rng.random() < 0.3:
        spec["enum"] = ["a", "b"]
    if rng.random() < 0.2:
        spec["default"] = rng.choice(["a", 1, None])
    return spec


def tool(rng, corpus):
    names = rng.sample(["city", "unit", "when", "x y", "größe"], rng.randint(0, 3))
    schema = {"type": "object", "properties": {n: parameters(rng, corpus) for n in names}, "required": names[:rng.randint(0, len(names))]}
    return {"type": "function", "function": {"name": rng.choice(["get_weather", "search", "f"]), "description": corpus.word(rng), "parameters": schema}}


def text(rng, corpus):
    words = corpus.word(rng)
    return words if rng.random() < 0.7 else rng.choice(["/no_think ", "  ", "<think>\nhm\n</think>\n\n", "\n"]) + words


def turn(rng, corpus, messages):
    content = text(rng, corpus)
    if rng.random() < 0.15:
        content = [{"type": "text", "text": text(rng, corpus)} for _ in range(rng.randint(1, 3))]
    messages.append({"role": "user", "content": content})
    if rng.random() < 0.35:
        calls = [{"id": f"call{i:05d}", "type": "function", "function": {"name": rng.choice(["f", "search"]), "arguments": {
            rng.choice(["city", "größe", "n"]): corpus.value(rng, 2) for _ in range(rng.randint(0, 2))}}} for i in range(rng.choice([1, 1, 2]))]
        messages.append({"role": "assistant", "content": rng.choice(["", text(rng, corpus), None]), "tool_calls": calls})
        if rng.random() < 0.3:
            messages[-1][rng.choice(["reasoning_content", "thinking", "reasoning"])] = text(rng, corpus)
        for call in calls:
            messages.append({"role": "tool", "content": text(rng, corpus), "tool_call_id": call["id"], "name": call["function"]["name"]})
    if rng.random() < 0.75:
        messages.append({"role": "assistant", "content": text(rng, corpus)})
        if rng.random() < 0.25:
            messages[-1]["reasoning_content"] = text(rng, corpus)


def chat(rng, corpus):
    """Three of four well formed; the rest as corpus makes them, with unknown roles, no content, broken calls."""
    made = corpus.chat(rng)
    if rng.random() < 0.75:
        made["messages"] = [{"role": rng.choice(["system", "system", "developer"]), "content": text(rng, corpus)}] if rng.random() < 0.5 else []
        for _ in range(rng.choice([1, 1, 2, 3, 5])):
            turn(rng, corpus, made["messages"])
        made["tools"] = rng.choice([None, None, [tool(rng, corpus) for _ in range(rng.randint(1, 3))]])
    for name, values in EXTRAS.items():
        if rng.random() < 0.12:
            made["kwargs"][name] = rng.choice(values)
    if rng.random() < 0.2:
        made["kwargs"]["documents"] = [{"doc_id": i, "title": corpus.word(rng), "text": corpus.word(rng)} for i in range(rng.randint(0, 3))]
    return made
