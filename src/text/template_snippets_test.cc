// Small templates against Debian's jinja2: every construct of the language that we offer, and what both refuse.
// Next: template_library_test.cc for filters, tests and methods.
#include "text/template_snippets.h"

namespace sluice::text {
namespace {

SNIPPETS(WhiteSpaceControl, {
      "a {% if yes %} b {% endif %} c", "a\n{% if yes %}\nb\n{% endif %}\nc\n", "  {% if yes %}\n  b\n  {% endif %}\n  c\n\n",
      "a {%- if yes -%} b {%- endif -%} c", "a\n  {%+ if yes %}\nb\n  {%+ endif %}\nc", "{% if yes +%}\nb{% endif +%}\nc",
      "  {# comment #}\n  x {# c #}  y\n", "  {#- c -#}  \n x", "x  {#- c +#}\n y", "{{ 1 }}\n{{ 2 -}}\n{{- 3 }}  {{+ 4 }}", "a{{ ' ' }}\n",
      "\n\n{% if yes %}\n\n{% endif %}\n\n", "x\r\ny\rz\n{% if yes %}\r\n{% endif %}", "{% raw %} {{ x }} {% if %} {% endraw %} z",
      "a {%- raw -%}  {{ x }}  {%- endraw -%} b", "  {% raw %}\n  {{ x }}\n  {% endraw %}\n  b", "{{'{{'}} {{ '}}' }} {{ '%}' }}",
      "{ { } % # #} }} %}", "a\n \t{% set q = 1 %}\t\nb", "{% set q = 1 %} \nb", "text{%- set q = 1 %}\n  more", "{{ {'a': {'b': 1}}['a'] }}",
      "{%if yes%}1{%endif%}", "   {{ n }}\n   {% if yes %}   {{ n }}   {% endif %}   \n", "{#-#}x{#- -#} y", "a{# {{ b }} {% c %} #}d",
      "{% if yes: %}1{% endif %}", "", "\n", "a\n\n", "{% if no %}\n{% elif yes -%}\n  b\n{%- else %}\nc\n{% endif %}",
});

SNIPPETS(SyntaxErrorsAreRefused, {
      "{{", "{{ }}", "{% %}", "{% if %}{% endif %}", "{% if yes %}", "{% endif %}", "{% for %}{% endfor %}", "{% for x in %}{% endfor %}",
      "{{ 1 + }}", "{{ (1 }}", "{{ 1) }}", "{{ [1, 2 }}", "{{ {'a' 1} }}", "{{ 'abc }}", "{# never closed", "{% raw %} never closed", "{{ a b }}",
      "{{ x. }}", "{{ x[ }}", "{{ x|  }}", "{{ x is }}", "{% set %}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% macro %}{% endmacro %}",
      "{% unknown %}", "{{ $ }}", "{{ f(a=1, 2) }}", "{{ f(**a, b) }}", "{% macro f(a=1, b) %}{% endmacro %}", "{% break %}",
      "{% if yes %}{% else %}{% elif no %}{% endif %}", "{{ x|nope }}", "{{ x is nope }}", "{{ 1 is odd is even }}",
      "{% for loop in list %}{{ loop }}{% endfor %}", "{{ \"a\nb\" }}", "{{ not }}", "{% for x in list %}{% set loop = 1 %}{% endfor %}",
      "{% call name %}{% endcall %}", "{% macro f() %}{% break %}{% endmacro %}", "{{ a.1b }}",
});

SNIPPETS(Literals, {
      "{{ 1 }} {{ 1.5 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1_000 }} {{ 00 }} {{ 1_0.5_0 }}",
      "{{ true }} {{ True }} {{ none }} {{ None }} {{ false }}", "{{ 'a\\n\\t\\x41\\u00e9\\'\\\"\\\\' }}", "{{ \"a\\qb\\é\" }}",
      "{{ 'a' 'b' \"c\" }}", "{{ 'line\\\nbreak' }}", "{{ '\\101\\7\\0' }}", "{{ '\\U0001f600' }}",
      "{{ [1, 'a', none, true, 1.0, [2], (1,), (), {'k': 'v'}] }}", "{{ (1, 2) }} {{ (1,) }} {{ () }} {{ 1, 2 }}",
      "{{ {1: 2, 'a': 'b', none: true, 1.5: 0, (1,2): 3} }}", "{{ {'a': 1, 'a': 2} }} {{ {1: 'x', 1.0: 'y', true: 'z'} }}",
      "{{ [1, 2, ] }} {{ {'a': 1, } }}", "{{ 100000000000000000000.0 }} {{ 1e16 }} {{ 1e15 }} {{ 123456789012345680.0 }}",
      "{{ 0.1 + 0.2 }} {{ 1e-5 }} {{ 0.0001 }} {{ 1.0 }} {{ -0.0 }} {{ 1e300 * 1e10 }} {{ 5e-324 }}", "{{ quote }}", "{{ [quote] }}",
      "{{ [text] }} {{ ['é\\x7f\\u200b\\ufeff'] }}", "{{ mixed }} {{ map }} {{ nested }}", "{{ ['it\\'s', 'say \"hi\"', 'both \\' and \"'] }}",
      "{{ big }} {{ big + 1 }}",
});

SNIPPETS(Operators, {
      "{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 "
      "}} {{ 7 / 2 }} {{ 6 / 2 }}",
      "{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 1 - -1 }} {{ +1 }} {{ --1 }} {{ -x }}",
      "{{ true + true }} {{ -true }} {{ 1.0 * 3 }}",
      "{{ 'a' + 'b' }} {{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ [1] + [2] }} {{ [1, 2] * 2 }} {{ (1,) + (2,) }} {{ 'a' * -1 }}",
      "{{ 1 ~ 'a' ~ none ~ true ~ 1.5 ~ [1] ~ nope }}", "{{ 1 + 2 ~ 3 }}", "{{ 1 ~ 2 + 3 }}", "{{ 'a' ~ 1 * 2 ~ -3 }}",
      "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 }} {{ 1 == 1.0 }} {{ 1 != '1' }} {{ true == 1 }} {{ 1 < 1.5 }}",
      "{{ 'a' < 'b' }} {{ 'B' < 'a' }} {{ 'é' > 'z' }}",
      "{{ 1 in [1, 2] }} {{ 'a' in 'cat' }} {{ '' in '' }} {{ 'k' in map }} {{ 'a' in map }} {{ 3 not in list }} {{ not 3 in list "
      "}} {{ 2 in range(5) }} {{ 2.0 in range(5) }}",
      "{{ 1 and 2 }} {{ 0 and 2 }} {{ 0 or 'x' }} {{ '' or none or 0 }} {{ not 1 }} {{ not not '' }} {{ 1 or nope.x }}",
      "{{ 'a' if yes else 'b' }} {{ 'a' if no else 'b' }} [{{ 'a' if no }}] {{ 1 if no else 2 if no else 3 }}", "{{ 1 + 'a' }}", "{{ 'a' + 1 }}",
      "{{ 'a' < 1 }}", "{{ [1] < 'a' }}", "{{ none < 1 }}", "{{ 1 in 5 }}", "{{ 1 in 'abc' }}", "{{ 1 / 0 }}", "{{ 1 // 0 }}", "{{ 1 % 0 }}",
      "{{ 1.0 / 0 }}", "{{ 'a' - 'b' }}", "{{ -'a' }}", "{{ [] + () }}", "{{ none + 1 }}", "{{ {} + {} }}", "{{ 0 ** -1 }}", "{{ 'x' * 1.5 }}",
      "{{ -x|abs }} {{ -2|abs }} {{ 2 + -3|abs }}", "{{ yes is true and no is false }}", "{{ 3 if list else 4 }} {{ list and 'full' }}",
      "{{ 1 == none }} {{ none == none }} {{ [] == [] }} {{ {} == {} }} {{ nope == nope2 }} {{ nope == none }} {{ nope != 1 }}",
      "{{ 7 // 2.0 }} {{ 1e308 * 10 // 1 }}",
});

// Reliability K8: comparing lists of different length once read past the shorter one.
SNIPPETS(K8ComparingListsOfDifferentLength, {
      "{{ [1, 2] == [1] }} {{ [1] == [1, 2] }} {{ [] == [1] }} {{ [1] != [] }} {{ [1, 2, 3] == [1, 2, 3] }}",
      "{{ [1] < [1, 2] }} {{ [1, 2] < [1] }} {{ [] < [1] }} {{ [1] > [] }} {{ [1, 2] <= [1] }} {{ [2] > [1, 5] }} {{ [1, 5] >= [2] }}",
      "{{ (1, 2) == (1,) }} {{ (1,) < (1, 2) }} {{ [1] == (1,) }}",
      "{{ [[1, 2], [3]] == [[1, 2]] }} {{ [[1], [2]] < [[1], [2], [3]] }} {{ [[1, 2]] < [[1]] }}",
      "{{ {'a': [1]} == {'a': [1, 2]} }} {{ {'a': 1} == {'a': 1, 'b': 2} }} {{ {'b': 2, 'a': 1} == {'a': 1, 'b': 2} }}", "{{ [1, 'a'] < [1, 2] }}",
      "{{ ['a'] < [1] }}", "{{ [1, 2] in [[1], [1, 2]] }} {{ [1] in [[1, 2]] }}", "{{ [[1, 2], [1], []]|sort }}",
      "{{ [[3], [1, 2], [1]]|max }} {{ [[3], [1, 2], [1]]|min }}", "{{ [] == () }} {{ [] < [] }} {{ [] <= [] }}",
      "{{ [none] == [none] }} {{ [nope] == [nope] }} {{ [1.0, true] == [1, 1] }}",
});

SNIPPETS(AttributesItemsAndSlices, {
      "{{ map.b }} {{ map['b'] }} {{ map.C.x }} {{ map['C']['x'] }} {{ map.nope }}| {{ map['nope'] }}|",
      "{{ map['items'] }} {{ map.items() }} {{ map.items is callable }}", "{{ map.nope.deeper }}", "{{ nope.x }}", "{{ nope['x'] }}", "{{ nope() }}",
      "{{ name() }}",
      "{{ list[0] }} {{ list[-1] }} {{ list[5] }}| {{ list['a'] }}| {{ list.0 }} {{ list[true] }} {{ nested[0][1] }} {{ nested.0.1 }}",
      "{{ name[0] }} {{ name[-1] }} {{ name[9] }}| {{ name.x }}| {{ text[10] }} {{ 5[0] }}|",
      "{{ list[1:] }} {{ list[:1] }} {{ list[:-1] }} {{ list[::-1] }} {{ list[::2] }} {{ list[5:] }} {{ list[-2:] }} {{ list[2:1] "
      "}} {{ list[:] }}", "{{ name[1:] }} {{ name[::-1] }} {{ text[2:12] }} {{ text[-8:] }} {{ text[::3] }} {{ text[100:] }}|",
      "{{ list[none:2] }} {{ (1,2,3)[1:] }} {{ range(10)[2:8:2] }} {{ range(10)[::-3]|list }}", "{{ list[::0] }}", "{{ list['a':] }}",
      "{{ map[1:] }}", "{{ nope[1:] }}", "{{ nothing[1:] }}", "{{ none.x }}| {{ none[0] }}| {{ 1.x }}|",
      "{{ map[[1]] }}|{{ map[{}] }}|{{ map[none] }}|",
      "{{ (1, 2).count(1) }} {{ messages[0].role }} {{ messages[0]['content'] }} {{ messages[-1].role }} {{ messages|length }}",
      "{{ 'abc'['upper']() }} {{ map['get']('b') }}",
      "{{ list[-10:2] }} {{ list[1:10:1] }} {{ list[-1:-3:-1] }} {{ list[0:3:2] }} {{ name[10:0:-1] }}",
      "{{ {'1': 'one', 1: 'int'}[1] }} {{ {1: 'a'}[true] }} {{ {1: 'a'}[1.0] }}", "{{ 'ñandú'[1:3] }} {{ '😀😁😂'[1] }} {{ '😀😁😂'[::-1] }}",
      "{{ list[1, 2] }}|", "{{ name.1 }} {{ map.b.nope }}|", "{{ (map).b }} {{ ('a' ~ 'b')[0] }} {{ [1,2][0] }} {{ {'a': 1}.a }}",
});

SNIPPETS(Undefined, {
      "[{{ nope }}]", "{{ nope is defined }} {{ nope is undefined }} {{ name is defined }} {{ map.q is defined }} {{ nothing is defined }}",
      "{{ nope|default('d') }} {{ nope|d }} {{ ''|default('d') }} {{ ''|default('d', true) }} {{ none|default('d') }} {{ "
      "none|d('d', boolean=true) }}", "{{ nope + 1 }}", "{{ 1 + nope }}", "{{ nope * 2 }}", "{{ -nope }}", "{{ nope < 1 }}", "{{ 'a' + nope }}",
      "{{ nope ~ 'a' }}",
      "{{ nope|length }} {{ nope|list }} {{ nope|join('x') }} {{ nope|string }}| {{ nope|upper }}| {{ nope|trim }}| {{ nope|first "
      "}}| {{ nope|last }}|", "{{ nope|int }}", "{{ nope|float }}", "{{ nope|abs }}", "{{ nope|tojson }}", "{{ nope|items|list }}",
      "{{ nope|dictsort }}", "{{ nope|indent }}", "{{ nope|replace('a', 'b') }}|",
      "{{ nope|sum }} {{ nope|max }}| {{ nope|sort }} {{ nope|map('upper')|list }}", "{% for x in nope %}x{% else %}none{% endfor %}",
      "{% if nope %}a{% else %}b{% endif %}", "{{ 'a' in nope }} {{ nope in [1] }}", "{{ nope in 'abc' }}", "{{ [nope] }} {{ {'a': nope} }}",
      "{{ nope is string }} {{ nope is iterable }} {{ nope is mapping }} {{ nope is sequence }} {{ nope is none }} {{ nope is "
      "callable }} {{ nope is number }}", "{{ nope == nope }} {{ nope == '' }} {{ nope is sameas nope }}", "{{ nope.get('x') }}",
      "{{ map.nope|default('x') }} {{ map.nope.y|default('x') }}", "{{ (nope or 'x') }} {{ nope and 1 }}|", "{{ nope % 2 }}", "{{ '%s' % nope }}|",
      "{{ nope|round }}", "{{ nope|tojson }}", "{{ nope(1) }}", "{{ {nope: 1} }}", "{% set a = nope %}{{ a is defined }}",
      "{{ nope|e }}|{{ nope|title }}|{{ nope|capitalize }}|{{ nope|wordcount }}|{{ nope|center(3) }}|{{ nope|truncate }}|",
      "{{ nope|reverse|list }}", "{{ nope|unique|list }} {{ nope|batch(2)|list }} {{ nope|select|list }}",
});

SNIPPETS(Loops, {
      "{% for x in list %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last "
      "}}/{{ loop.length }}:{{ x }} {% endfor %}", "{% for x in list %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
      "{% for x in list if x > 1 %}{{ loop.index }}{{ x }}{{ loop.last }} {% else %}none{% endfor %}",
      "{% for x in list if x > 5 %}{{ x }}{% else %}none{% endfor %}", "{% for x in [] %}x{% else %}empty{% endfor %}",
      "{% for k, v in map.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in map %}{{ k }};{% endfor %}",
      "{% for a, b in [[1, 2], (3, 4), 'xy'] %}{{ a }}-{{ b }};{% endfor %}",
      "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [[1]] %}{% endfor %}",
      "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{% for x in 5 %}{% endfor %}",
      "{% for x in none %}{% endfor %}", "{% for c in 'añ😀' %}{{ c }}.{% endfor %}",
      "{% for x in range(3) %}{{ x }}{% endfor %} {% for x in range(5, 0, -2) %}{{ x }}{% endfor %} {{ range(3) }} {{ range(1, 7, "
      "2)|list }} {{ range(0)|list }}", "{% for x in list %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
      "{% for x in list %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in list %}{% break %}{% else %}else{% endfor %}",
      "{% for x in list %}{% continue %}{% else %}else{% endfor %}", "{% for x in list %}{{ x }}{% break %}{% else %}else{% endfor %}",
      "{% for x in nested %}{% for y in x %}{{ loop.index }}{{ y }}{% endfor %}{{ loop.index }};{% endfor %}",
      "{% for x in nested %}{% set outer = loop %}{% for y in x %}{{ outer.index }}.{{ loop.index }} {% endfor %}{% endfor %}",
      "{% for x in list %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }} {% endfor %}",
      "{% for x in list %}{{ loop }}{% endfor %}|{{ loop }}", "{{ loop.index }}", "{% for x in list %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}",
      "{% for x in people|map(attribute='name') %}{{ loop.last }}{{ x }}{% endfor %}",
      "{% for x in people|selectattr('ok') %}{{ loop.length }}{{ x.name }}{% endfor %}",
      "{% for m in messages %}{{ loop.index0 + 1 }}{{ messages[loop.index0 - 1].role }}{% endfor %}",
      "{% for x in list|sort(reverse=true) %}{{ x }}{% endfor %}",
      "{% for x in list %}{% for x in 'ab' %}{{ x }}{% endfor %}{{ x }}{% endfor %}{{ x }}",
      "{% set ns = namespace(stop=false) %}{% for x in [1,2,3,4] if not ns.stop %}{{ x }}{% if x == 2 %}{% set ns.stop = true %}{% "
      "endif %}{% endfor %}", "{% set g = list|map('string') %}{% for x in g %}{{ x }}{% endfor %}|{% for x in g %}{{ x }}{% endfor %}",
      "{% for x in list %}{{ loop.nope }}|{% endfor %}", "{% for x in list if loop.index %}{{ x }}{% endfor %}",
      "{% for x in list recursive %}{{ x }}{% endfor %}x{{ nope.y }}",
});

SNIPPETS(Scopes, {
      "{% set a = 1 %}{% for x in list %}{% set a = a + 1 %}{{ a }}{% endfor %}{{ a }}",
      "{% set ns = namespace(n=0) %}{% for x in list %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}",
      "{% if yes %}{% set a = 1 %}{% endif %}{{ a }}", "{% if no %}{% set a = 1 %}{% endif %}[{{ a }}]",
      "{% if no %}{% set name = 'x' %}{% endif %}{{ name }}", "{% if yes %}{% set name = 'x' %}{% else %}{% set name = 'y' %}{% endif %}{{ name }}",
      "{% if no %}{% set name = 'x' %}{% elif no %}{% set name = 'z' %}{% else %}{% set name = 'y' %}{% endif %}{{ name }}",
      "{% for x in list %}{{ name }}{% endfor %}{% set name = 'later' %}{{ name }}", "{{ name }}{% set name = 'later' %}{{ name }}",
      "{% set name = name ~ '!' %}{{ name }}", "{% macro m() %}{{ a }}{% endmacro %}{% set a = 1 %}{{ m() }}{% set a = 2 %}{{ m() }}",
      "{% set a = 1 %}{% macro m() %}{% set a = 5 %}{{ a }}{% endmacro %}{{ m() }}{{ a }}",
      "{% macro m(a) %}{{ a }}{% set a = 9 %}{{ a }}{% endmacro %}{{ m(1) }}{{ a }}", "{% for x in list %}{% set y = x %}{% endfor %}[{{ y }}]",
      "{% for x in list %}{% if loop.first %}{% set y = x %}{% endif %}[{{ y }}]{% endfor %}",
      "{% set x = 'outer' %}{% for x in list %}{{ x }}{% endfor %}{{ x }}",
      "{% for i in [1,2] %}{% for j in [1,2] %}{% set k = i * j %}{{ k }}{% endfor %}[{{ k }}]{% endfor %}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
      "{% set a, b = [1, 2] %}{{ b }}{{ a }}{% set a, b = b, a %}{{ b }}{{ a }}", "{% set (a, b) = (1, 2) %}{{ a }}", "{% set a = 1, 2 %}{{ a }}",
      "{% set a.b = 1 %}", "{% set map.b = 1 %}", "{% set ns.x = 1 %}",
      "{% with a = 1, b = name %}{{ a }}{{ b }}{% set a = 3 %}{{ a }}{% endwith %}[{{ a }}]",
      "{% with %}{% set q = 1 %}{{ q }}{% endwith %}[{{ q }}]", "{% set a = 5 %}{% with a = a + 1 %}{{ a }}{% endwith %}{{ a }}",
      "{% set a %}text {{ n }}{% endset %}[{{ a }}]", "{% set a | upper %}text {{ n }}{% endset %}[{{ a }}]",
      "{% set a %}{% set b = 1 %}{{ b }}{% endset %}{{ a }}[{{ b }}]", "{% set ns = namespace() %}{% set ns.a %}block{% endset %}{{ ns.a }}",
      "{% filter upper %}abc {{ name }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}abc{% endfilter %}",
      "{% set a = 1 %}{% filter trim %} {% set a = 2 %}{{ a }} {% endfilter %}{{ a }}",
      "{% generation %}{% set a = 2 %}{{ a }}{{ name }}{% endgeneration %}[{{ a }}]",
      "{% set ns = namespace(a=1, b='x') %}{{ ns.a }}{{ ns.b }}{{ ns.c }}|{{ ns }}",
      "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a + ns.b }} {{ ns['a'] }}",
      "{% for x in [1] %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}",
      "{% if yes %}{% macro m() %}in{% endmacro %}{% endif %}{{ m() }}",
      "{% for x in [1,2] %}{% set z %}{{ x }}{% break %}{% endset %}{% endfor %}[{{ z }}]",
      "{% for x in list %}{% with y = x %}{% if y == 1 %}{% continue %}{% endif %}{{ y }}{% endwith %}{% endfor %}",
      "{% set _ = list.append(9) %}{{ list }}", "{% print 1, 2 ~ 3 %}",
      "{% for item in list %}{% set last = item %}{% if last %}{{ last }}{% endif %}{% endfor %}",
      "{% set messages = messages[1:] %}{{ messages|length }}{{ messages[0].role }}",
      "{% for message in messages %}{% set content = message.content %}{% if loop.first %}{% set content = content|upper %}{% endif "
      "%}{{ content }}{% endfor %}", "{% if tools is not defined %}{% set tools = none %}{% endif %}{{ tools }}",
      "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ add_generation_prompt }}",
      "{% macro f() %}{% if no %}{% set name = 1 %}{% endif %}{{ name }}{% endmacro %}{{ f() }}",
      "{% for x in [1] %}{% if no %}{% set name = 1 %}{% endif %}{{ name }}{% endfor %}",
      "{% macro outer() %}{% macro inner() %}{{ name }}{{ v }}{% endmacro %}{% set v = 3 %}{{ inner() }}{% endmacro %}{{ outer() }}",
      "{% set range = 3 %}{{ range }}", "{% set x = 1 %}{% if yes %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{% endif %}{{ x }}",
});

SNIPPETS(Macros, {
      "{% macro f(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(1, c='y') }}{{ f(a=0, b=1) }}{{ f() }}",
      "{% macro f(a) %}{{ a is defined }}{% endmacro %}{{ f() }}{{ f(none) }}", "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}",
      "{% macro f(a) %}{% endmacro %}{{ f(b=2) }}", "{% macro f(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, x=4) }}",
      "{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}",
      "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
      "{% macro f() %}{{ caller() }}!{% endmacro %}{% call f() %}body {{ n }}{% endcall %}",
      "{% macro f() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) f() %}{{ a + b }}{% endcall %}",
      "{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}", "{% macro f() %}x{% endmacro %}{% call f() %}{% endcall %}",
      "{{ f }}{% macro f() %}{% endmacro %}{{ f }} {{ f.name }}",
      "{% macro f(x) %}{{ x|upper }}{% endmacro %}{{ f('a') ~ f('b') }} {{ f('a')|length }}",
      "{% set fs = [] %}{% macro a(x) %}A{{ x }}{% endmacro %}{% macro b(x) %}B{{ x }}{% endmacro %}{% set fs = fs + [a, b] %}{% "
      "for f in fs %}{{ f(*[loop.index]) }}{% endfor %}",
      "{% macro f(a, b) %}{{ a }}-{{ b }}{% endmacro %}{{ f(*[1, 2]) }} {{ f(**{'a': 1, 'b': 2}) }} {{ f(1, **{'b': 3}) }}",
      "{% macro f() -%}\n  text\n{%- endmacro %}[{{ f() }}]", "{% macro f(a, a) %}{% endmacro %}",
      "{% macro f(caller) %}{{ caller }}{% endmacro %}{{ f(1) }}",
      "{% macro t(x) %}{{ x }}{% endmacro %}{{ t(x='q') }} {{ t is callable }} {{ t is defined }}",
      "{% macro f(x) %}{{ x }}{% endmacro %}{{ [1, 2]|map('f')|list }}",
      "{% macro f(ns) %}{% set ns.v = 5 %}{% endmacro %}{% set ns = namespace(v=1) %}{{ f(ns) }}{{ ns.v }}",
      "{{ dict(a=1, b=2) }} {{ dict([('a', 1)]) }} {{ dict({'a': 1}, b=2) }}", "{% set j = joiner(', ') %}{{ j() }}a{{ j() }}b{{ j() }}c",
      "{% set c = cycler('x', 'y') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}",
      "{{ raise_exception('no') }}", "{% if no %}{{ raise_exception('no') }}{% endif %}ok",
      "{{ strftime_now('%Y-%m-%d %H:%M:%S %B %b %A %a %y %j %p %I %e %F %T %D %U %W %w %u %% %f %C %G-x')[:90] }}",
      "{{ strftime_now('%-d %-m %d %B %Y') }} {{ strftime_now('%c|%x|%X|%R|%r|%n|%t|%h|%k|%l|%Z|%z') }}", "{{ range(1, 2, 3, 4) }}",
      "{{ range('a') }}", "{{ range(1, 5, 0) }}", "{{ range(1.5) }}",
      "{{ range(10)|length }} {{ range(3)[1] }} {{ range(3)[-1] }} {{ range(3)[7] }}| {{ range(2, 9, 3)|last }} {{ 3 in range(0, 9, "
      "3) }} {{ 4 in range(0, 9, 3) }} {{ range(3) == range(0, 3) }}",
});

}  // namespace
}  // namespace sluice::text
