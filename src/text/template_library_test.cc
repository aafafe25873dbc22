// Filters, tests and methods against Debian's jinja2, snippet by snippet. Next: template_snippets_test.cc for the language itself.
#include "text/template_snippets.h"

namespace sluice::text {
namespace {

SNIPPETS(JsonFilter, {
      "{{ mixed|tojson }} {{ map|tojson }} {{ text|tojson }} {{ quote|tojson }} {{ markup|tojson }}", "{{ map|tojson(indent=2) }}",
      "{{ mixed|tojson(indent=4) }}", "{{ [[], {}, [[]], {'a': {}}]|tojson(indent=2) }}", "{{ nested|tojson(indent=0) }}",
      "{{ nested|tojson(indent='--') }}", "{{ nested|tojson(indent=none) }}", "{{ map|tojson(separators=(',', ':')) }}",
      "{{ map|tojson(indent=1, separators=(' , ', ' : ')) }}", "{{ map|tojson(sort_keys=true) }}", "{{ text|tojson(ensure_ascii=true) }}",
      "{{ text|tojson(true) }}", "{{ '\x7f😀'|tojson(ensure_ascii=True) }}", "{{ 'a\\u2028</script>\\x00\\x1f'|tojson }}",
      "{{ 1.0|tojson }} {{ 1e20|tojson }} {{ x|tojson }} {{ true|tojson }} {{ none|tojson }} {{ 'é'|tojson }}",
      "{{ {1: 1, 1.5: 2, true: 3, none: 4}|tojson }}", "{{ {(1,2): 1}|tojson }}", "{{ (1, 2)|tojson }} {{ ()|tojson }}",
      "{{ list|map('string')|tojson }}", "{{ map.items()|tojson }}", "{{ range(3)|tojson }}", "{{ namespace(a=1)|tojson }}", "{{ [nope]|tojson }}",
      "{{ 1e400|tojson }} {{ -1e400|tojson }}", "{{ {'b': 1, 'a': 2}|tojson(indent=2, sort_keys=true) }}",
      "{{ {1: 1, 'a': 2}|tojson(sort_keys=true) }}", "{{ map|tojson(nope=1) }}", "{{ 'x'|tojson|safe }}", "{{ [1, 2]|tojson(separators=(',',)) }}",
      "{{ nested|tojson(indent=-1) }}", "{{ nested|tojson(indent=true) }}",
});

SNIPPETS(SequenceFilters, {
      "{{ list|length }} {{ list|count }} {{ map|length }} {{ text|length }} {{ range(4)|length }} {{ (1,2)|length }}", "{{ 5|length }}",
      "{{ none|length }}", "{{ list|map('string')|length }}",
      "{{ list|first }} {{ list|last }} {{ ''|first }}| {{ []|last }}| {{ name|first }} {{ name|last }} {{ map|first }} {{ range(5)|last }}",
      "{{ list|map('string')|last }}", "{{ list|map('string')|first }}",
      "{{ list|sort }} {{ list|sort(true) }} {{ words|sort }} {{ words|sort(case_sensitive=true) }}",
      "{{ people|sort(attribute='age')|map(attribute='name')|list }} {{ people|sort(attribute='age,name')|map(attribute='name')|join(',') }}",
      "{{ people|sort(attribute='age', reverse=true)|map(attribute='name')|join(',') }}", "{{ mixed|sort }}", "{{ people|sort }}",
      "{{ 'hello'|sort }}", "{{ map|sort }}", "{{ list|reverse|list }} {{ name|reverse }} {{ text|reverse }} {{ map|reverse|list }}",
      "{{ list|reverse|first }}",
      "{{ list|join }} {{ list|join(', ') }} {{ mixed|join('|') }} {{ people|join(',', attribute='name') }} {{ 'abc'|join('-') }} "
      "{{ map|join(',') }} {{ list|join(1) }}", "{{ 5|join }}",
      "{{ list|max }} {{ list|min }} {{ words|max }} {{ words|min(case_sensitive=true) }} {{ []|max }}| {{ "
      "people|max(attribute='age') }} {{ 'hello'|max }}", "{{ mixed|min }}",
      "{{ list|sum }} {{ people|sum(attribute='age') }} {{ list|sum(start=10) }} {{ [[1], [2]]|sum(start=[]) }} {{ [1.5, 2]|sum }}",
      "{{ words|sum }}", "{{ words|sum(start='') }}",
      "{{ [1, 2, 1, 'a', 'A', 1.0, true]|unique|list }} {{ words|unique(case_sensitive=true)|list }} {{ "
      "people|unique(attribute='age')|map(attribute='name')|list }}", "{{ nested|unique|list }}",
      "{{ people|map(attribute='name')|list }} {{ people|map(attribute='ok', default='?')|list }} {{ "
      "people|map(attribute='nope')|list }} {{ people|map(attribute='name.0')|list }}",
      "{{ words|map('upper')|list }} {{ words|map('replace', 'a', 'x')|join }} {{ list|map('string')|join('+') }} {{ "
      "words|map('default', 'x')|list }}", "{{ words|map('nope')|list }}", "{{ words|map|list }}", "{{ words|map(attribute='x', nope=1)|list }}",
      "{{ nested|map('sum')|list }} {{ nested|map('join', '-')|list }} {{ nested|map('first')|list }} {{ nested|map(attribute=0)|list }}",
      "{{ list|select('odd')|list }} {{ list|reject('odd')|list }} {{ mixed|select|list }} {{ mixed|reject|list }} {{ "
      "list|select('gt', 1)|list }} {{ list|select('>', 1)|list }}",
      "{{ mixed|select('string')|list }} {{ words|select('in', ['a', 'b'])|list }} {{ list|select('divisibleby', 3)|list }}",
      "{{ list|select('nope')|list }}",
      "{{ people|selectattr('ok')|map(attribute='name')|list }} {{ people|rejectattr('ok')|map(attribute='name')|list }} {{ "
      "people|selectattr('age', 'equalto', 30)|list|length }}",
      "{{ people|selectattr('ok', 'defined')|map(attribute='name')|list }} {{ people|rejectattr('age', 'lt', 30)|map(attribute='name')|list }}",
      "{{ people|selectattr|list }}",
      "{{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|selectattr('role', '==', "
      "'user')|map(attribute='content')|first }}",
      "{{ list|batch(2)|list }} {{ list|batch(2, 'x')|list }} {{ range(7)|slice(3)|list }} {{ range(7)|slice(3, 'x')|list }} {{ "
      "[]|batch(2)|list }} {{ []|slice(2)|list }}",
      "{% for g in people|groupby('age') %}{{ g[0] }}:{{ g[1]|map(attribute='name')|join(',') }};{% endfor %}",
      "{% for k, v in words|map('lower')|groupby(0) %}{{ k }}{{ v }}{% endfor %}",
      "{{ map|dictsort }} {{ map|dictsort(true) }} {{ {'b': 1, 'a': 2}|dictsort(by='value') }} {{ {'b': 1, 'a': 2}|dictsort(reverse=true) }}",
      "{{ map|dictsort(by='value') }}", "{{ map|dictsort(by='x') }}", "{{ list|dictsort }}",
      "{{ map|items|list }} {% for k, v in map|items %}{{ k }}{{ v }}{% endfor %}", "{{ list|items|list }}",
      "{{ list|list }} {{ 'añ'|list }} {{ map|list }} {{ map.values()|list }} {{ map.keys()|list }} {{ map.items()|list }}", "{{ 5|list }}",
      "{{ list|attr('nope') }}| {{ map|attr('b') }}| {{ 'a'|attr('upper') is callable }} {{ namespace(a=1)|attr('a') }}",
      "{{ (list|map('string')) is iterable }} {{ (list|map('string')) is sequence }} {% if []|select %}truthy{% endif %}",
});

SNIPPETS(TextFilters, {
      "{{ name|upper }} {{ name|lower }} {{ text|upper }} {{ text|lower }} {{ 'ß ﬁ ŉ ǰ Ω ς İ'|upper }} {{ 'ΑΣ ΑΣΑ Σ ΌΣΟΣ. ΣΑΣ "
      "İ'|lower }} {{ 5|upper }}|{{ none|lower }}",
      "{{ 'hello wORLD'|capitalize }} {{ 'ǆabc ßx ﬁx'|capitalize }} {{ ''|capitalize }}|{{ 'hello-world foo(bar [baz {qux <x "
      "a\\tb'|title }} {{ \"it's ßa ﬁ 1a\"|title }} {{ text|title }}",
      "{{ text|trim }}| {{ 'xxaxx'|trim('x') }} {{ ' \\t\\n\\u00a0\\u3000a\\u2003 '|trim }}| {{ 'abcba'|trim('ab') }} {{ 5|trim }} "
      "{{ ''|trim }}| {{ 'ñañ'|trim('ñ') }}",
      "{{ 'aaa'|replace('a', 'b') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ 'aaa'|replace('', '-') }} {{ 'ñé'|replace('', '.') }} {{ "
      "'aaa'|replace('aa', 'b') }} {{ 123|replace(2, 'x') }} {{ 'aaa'|replace('a', 'b', 0) }} {{ ''|replace('', 'x') }}",
      "{{ 'a\\nb\\n\\nc\\n'|indent }}|{{ 'a\\nb\\n\\nc'|indent(2, true) }}|{{ 'a\\nb\\n\\nc'|indent(2, blank=true) }}|{{ "
      "'a\\nb'|indent('>>') }}|{{ 'a\\nb'|indent(width=1, first=true) }}|{{ ''|indent(first=true) }}|", "{{ 5|indent }}",
      "{{ 'a\\r\\nb\\x0bc\\x1cd\\u2028e'|indent(1) }}",
      "{{ name|center(9) }}| {{ name|center(8) }}| {{ 'ab'|center(5) }}| {{ 'abc'|center(6) }}| {{ 'ñ'|center(4) }}| {{ name|center(1) }}|",
      "{{ 'foo bar baz qux'|truncate(9) }} {{ 'foo bar baz qux'|truncate(9, true) }} {{ 'foo bar baz qux'|truncate(11) }} {{ 'foo "
      "bar baz qux'|truncate(11, false, '...', 0) }} {{ 'foobarbazqux'|truncate(5, end='…', leeway=0) }}", "{{ 'foo bar'|truncate(1) }}",
      "{{ 'foo  bar, baz-qux it_is 5'|wordcount }} {{ text|wordcount }} {{ ''|wordcount }}",
      "{{ markup|e }} {{ markup|escape|e }} {{ markup|safe }} {{ markup|safe|e }} {{ markup|forceescape }} {{ markup|e|forceescape }} {{ 5|e }}",
      "{{ (markup|safe) + '<x>' }} {{ '<x>' + (markup|safe) }} {{ ('a'|safe) + 'b' }} {{ ['<a>'|safe] }} {{ ('a'|safe) ~ '<b>' }} "
      "{{ ('<a>'|safe) is escaped }} {{ '<a>' is escaped }}",
      "{{ 'a b/c?d=é&f~'|urlencode }} {{ {'a b': 1, 'c': 'x/y'}|urlencode }} {{ [('a', 'b c')]|urlencode }} {{ 5|urlencode }}",
      "{{ name|string }} {{ 5|string ~ 1 }} {{ list|string }} {{ none|string }}", "{{ 5|abs }} {{ -5|abs }} {{ -2.5|abs }} {{ true|abs }}",
      "{{ 'a'|abs }}",
      "{{ '5'|int }} {{ ' 42 '|int }} {{ '4.7'|int }} {{ 4.7|int }} {{ -4.7|int }} {{ 'x'|int }} {{ 'x'|int(9) }} {{ "
      "'0x1f'|int(base=16) }} {{ 'ff'|int(0, 16) }} {{ '0b11'|int(0, 2) }} {{ '1_000'|int }} {{ true|int }} {{ none|int }} {{ "
      "[]|int(7) }} {{ '1e3'|int }} {{ '-3'|int }} {{ '+3'|int }} {{ ''|int }} {{ '0x1f'|int }} {{ '010'|int(base=0) }} {{ "
      "'0o17'|int(base=0) }}",
      "{{ '5'|float }} {{ '1.5e3'|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ 5|float }} {{ 'nan'|float }} {{ '-inf'|float }} "
      "{{ ' 2.5 '|float }} {{ '1_0.5'|float }} {{ '.5'|float }} {{ '5.'|float }} {{ '1e400'|float }} {{ none|float }}", "{{ 1e400|int }}",
      "{{ 42.55|round }} {{ 42.55|round(1) }} {{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 42.55|round(1, 'floor') }} {{ "
      "42.51|round(1, 'ceil') }} {{ 42|round }} {{ 42|round(2) }} {{ 1234.5|round(-2) }} {{ -2.5|round }} {{ 42.7|round|int }} {{ "
      "42|round(1, 'ceil') }} {{ 0.5|round(0, 'common') }}", "{{ 'a'|round }}", "{{ 1|round(1, 'x') }}",
      "{{ '%s-%d'|format('a', 5) }} {{ '%(a)s'|format(a=1) }} {{ '%s'|format([1]) }}", "{{ '%s %s'|format(1) }}", "{{ '%s'|format(1, 2) }}",
      "{{ '%s'|format(1, a=2) }}", "{{ name|upper(1) }}", "{{ name|replace('a') }}", "{{ name|trim(x=1) }}", "{{ name|trim(5) }}",
});

SNIPPETS(Formatting, {
      "{{ '%s %r %d %i %5d|%-5d|%05d|%+d|% d|%x|%X|%o|%#x' % ('a', 'b', 1, 2, 3, 4, 5, 6, 7, 255, 255, 8, 255) }}",
      "{{ '%f %.2f %8.3f|%-8.2f|%08.2f %e %.1e %g %g %g %G' % (1.5, 2.345, 3.14159, 1.5, -1.5, 12345.678, 0.00012, 0.0001, 1e10, "
      "100000.0, 1e-10) }}",
      "{{ '%%' % () }} {{ '100%%' % () }} {{ '%s' % 'x' }} {{ '%s' % [1, 2] }} {{ '%(a)s %(b)d' % {'a': 'x', 'b': 3} }} {{ '%c%c' % "
      "('a', 98) }} {{ '%5s|%-5s|%.2s|%5.1s|' % ('ab', 'ab', 'abc', 'ñé') }} {{ '%*d' % (5, 1) }}", "{{ '%d' % 'a' }}",
      "{{ '%d' % 1.9 }} {{ '%s' % none }} {{ '%s' % true }} {{ '%d' % true }}", "{{ '%z' % 1 }}", "{{ '%' % 1 }}", "{{ '%s' % () }}",
      "{{ 'x' % 1 }}", "{{ '%(a)s' % 1 }}", "{{ '%x' % 1.5 }}", "{{ '%f' % 'a' }}",
      "{{ '{} {} {}'.format(1, 'a', none) }} {{ '{1}{0}'.format('a', 'b') }} {{ '{x}-{y}'.format(x=1, y=2) }} {{ '{{}} "
      "{}'.format(1) }} {{ '{0}{0}'.format(1) }}",
      "{{ '{:5}|{:<5}|{:>5}|{:^5}|{:*^7}|{:05}|{:+}|{:,}|{:.2f}|{:8.2f}|{:x}|{:#X}|{:b}|{:e}|{:%}|{:.1%}'.format(1, 2, 3, 4, 5, 6, "
      "7, 1234567, 1.5, 2.5, 255, 255, 5, 1234.5, 0.5, 0.256) }}",
      "{{ '{:5}|{:<5}|{:>5}|{:^5}|{:*^6}|{:.2}|{:5.1}|'.format('a', 'b', 'c', 'd', 'e', 'fgh', 'ij') }} {{ '{!r} {!s}'.format('a', "
      "'b') }} {{ '{:g} {:.3g} {:G}'.format(1e10, 3.14159, 1e-10) }} {{ '{:,.2f}'.format(1234567.891) }} {{ '{}'.format(1.0) }} {{ "
      "'{:d}'.format(true) }}", "{{ '{}'.format() }}", "{{ '{a}'.format(1) }}", "{{ '{'.format(1) }}", "{{ '}'.format(1) }}",
      "{{ '{:d}'.format('a') }}", "{{ '{:z}'.format(1) }}",
      "{{ '%.3f' % 2.0005 }} {{ '%.0f' % 2.5 }} {{ '%5.1f|' % 9.96 }} {{ '%s' % 1e16 }} {{ '%.10g' % 0.1 }} {{ '%d%%' % 50 }} {{ "
      "'%s and %s' % ('a', 'b') }}", "{{ '%s' % ('a',) }} {{ '%s' % (('a', 1),) }} {{ '%r' % 'it\\'s' }}",
});

SNIPPETS(Tests, {
      "{% for v in mixed + [nope, nothing, false, 0, '', {}, (), range(2)] %}{{ v is defined }},{{ v is none }},{{ v is boolean "
      "}},{{ v is integer }},{{ v is float }},{{ v is number }},{{ v is string }},{{ v is mapping }},{{ v is iterable }},{{ v is "
      "sequence }},{{ v is callable }},{{ v is true }},{{ v is false }};{% endfor %}",
      "{{ 3 is odd }} {{ 4 is even }} {{ 4.0 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ -3 is odd }} {{ true is odd }}",
      "{{ 'a' is odd }}", "{{ 'abc' is lower }} {{ 'ABC' is upper }} {{ 'aBc' is lower }} {{ '123' is lower }} {{ 'ñ' is lower }} {{ 5 is upper }}",
      "{{ 1 is eq 1 }} {{ 1 is equalto(1.0) }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is gt 1 }} {{ 1 is le 1 }} {{ 1 is ge 2 }} {{ 1 "
      "is lessthan 2 }} {{ 1 is greaterthan 0 }} {{ 1 is in [1] }} {{ 'a' is in 'abc' }} {{ 1 is not in [1] }}",
      "{{ none is sameas none }} {{ true is sameas true }} {{ 1 is sameas true }} {{ list is sameas list }} {{ [] is sameas [] }} "
      "{{ 1 is sameas 1.0 }}", "{{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ 'nope' is test }} {{ 5 is filter }}",
      "{{ x is not none }} {{ not x is none }} {{ x is none or yes }}",
      "{{ x is defined and x is number }} {% if name is string and not name is mapping %}ok{% endif %}",
      "{{ range is callable }} {{ name.upper is callable }} {{ map.get is callable }} {{ map.items is defined }}", "{{ 1 is lt 'a' }}",
      "{{ 1 is in 5 }}",
      "{{ map.keys() is sequence }} {{ map.values() is iterable }} {{ map.items() is mapping }} {{ (list|map('upper')) is sequence "
      "}} {{ namespace() is mapping }} {{ namespace() is iterable }}", "{{ name is string(1) }}", "{{ 9 is divisibleby }}",
      "{{ 4 is divisibleby 0 }}", "{{ 1 is true }} {{ 1 == true }} {{ 0 is false }}",
});

SNIPPETS(StringMethods, {
      "{{ text.strip() }}|{{ text.lstrip() }}|{{ text.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xya'.lstrip('yx') }}|{{ "
      "'a\\n\\n'.rstrip('\\n') }}|{{ 'a'.strip(none) }}", "{{ 'a'.strip(chars='x') }}", "{{ 'a'.strip(5) }}",
      "{{ 'a,b,,c'.split(',') }} {{ ' a  b c '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ ' a b  c '.split(none, 1) }} {{ "
      "'abc'.split('x') }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a,b'.split(sep=',', maxsplit=1) }} {{ ' a '.split(none, 0) }} "
      "{{ 'a,b'.split(',', 0) }} {{ 'a</think>b'.split('</think>')[-1] }}", "{{ 'a'.split('') }}",
      "{{ 'a,b,,c'.rsplit(',', 1) }} {{ ' a  b c '.rsplit() }} {{ ' a  b c '.rsplit(none, 1) }} {{ 'a,b,c'.rsplit(',', 5) }} {{ "
      "',a,'.rsplit(',', 1) }} {{ 'a b'.rsplit(none, 0) }} {{ ',,a'.rsplit(',', 1) }} {{ 'aXXbXXc'.rsplit('XX', 1) }}",
      "{{ 'a\\nb\\r\\nc\\n'.splitlines() }} {{ 'a\\nb'.splitlines(true) }} {{ ''.splitlines() }}",
      "{{ 'abc'.startswith('a') }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('c') }} {{ "
      "'abc'.endswith('b', 0, 2) }} {{ 'abc'.startswith('') }} {{ 'abc'.startswith('', 9) }} {{ 'ñab'.startswith('a', 1) }} {{ "
      "'abc'.endswith(()) }} {{ 'abc'.startswith('c', -1) }}", "{{ 'abc'.startswith(5) }}", "{{ 'abc'.startswith(['a']) }}",
      "{{ 'banana'.find('a') }} {{ 'banana'.find('a', 2) }} {{ 'banana'.find('x') }} {{ 'banana'.rfind('a') }} {{ 'ñaño'.find('o') "
      "}} {{ 'banana'.index('n') }} {{ 'banana'.count('an') }} {{ 'aaaa'.count('aa') }} {{ 'abc'.count('') }} {{ 'banana'.find('a', "
      "2, 3) }} {{ 'banana'.rfind('a', 0, 4) }} {{ 'abc'.rfind('') }} {{ 'abc'.find('', 9) }} {{ 'banana'.rindex('na') }} {{ "
      "'banana'.find('a', -2) }}", "{{ 'a'.index('x') }}",
      "{{ 'aXbX'.replace('X', '-') }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'ab'.replace('', '.') }}", "{{ 'a'.replace('a', 5) }}",
      "{{ ','.join(['a', 'b']) }} {{ ','.join('abc') }} {{ ''.join([]) }} {{ ','.join(words|map('upper')) }}", "{{ ','.join([1]) }}",
      "{{ 'abc'.upper() }} {{ 'ABC'.lower() }} {{ 'hello world it\\'s'.title() }} {{ 'hELLO'.capitalize() }} {{ 'aBc'.swapcase() }} "
      "{{ 'ßﬁ'.upper() }} {{ 'ΑΣ'.lower() }} {{ 'ﬁx ßx'.title() }} {{ 'ǅ'.swapcase() }}",
      "{{ 'ab'.center(5) }}| {{ 'ab'.ljust(4) }}| {{ 'ab'.rjust(4, '*') }} {{ '5'.zfill(3) }} {{ '-5'.zfill(4) }} {{ 'abc'.zfill(2) "
      "}} {{ 'ab'.center(7, 'ñ') }}", "{{ 'a'.ljust(3, 'xy') }}",
      "{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }} {{ 'abc'.rpartition('=') }}", "{{ 'a'.partition('') }}",
      "{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }} {{ 'x'.removeprefix('y') }}",
      "{{ 'a\\tb\\tcd\\n\\te'.expandtabs(4) }} {{ 'a\\tb'.expandtabs() }}",
      "{{ 'abc'.isalpha() }} {{ 'ab1'.isalnum() }} {{ '12'.isdigit() }} {{ '²'.isdigit() }} {{ '²'.isdecimal() }} {{ "
      "'½'.isnumeric() }} {{ ' \\t'.isspace() }} {{ ''.isspace() }} {{ 'abc'.islower() }} {{ 'ABC'.isupper() }} {{ 'ñ'.isalpha() }} "
      "{{ 'é'.isascii() }} {{ ''.isascii() }} {{ '١'.isdecimal() }} {{ 'A1'.isupper() }}", "{{ 'abc'.nope() }}", "{{ 'abc'.nope }}|",
      "{{ 'abc'.upper().lower().strip('c') }}",
});

SNIPPETS(ContainerMethods, {
      "{{ map.get('b') }} {{ map.get('q') }} {{ map.get('q', 5) }} {{ map.keys() }} {{ map.values() }} {{ map.items() }} {{ "
      "map.get('n', 'x') }} {{ {}.get('a') }} {{ {1: 2}.get(1) }}", "{{ map.get() }}", "{{ map.get([1]) }}", "{{ map.get(key='a') }}",
      "{% set d = {'a': 1} %}{% set _ = d.update({'b': 2}) %}{% set _ = d.update(c=3) %}{{ d }} {{ d.pop('a') }} {{ d }} {{ "
      "d.pop('q', 'none') }} {{ d.setdefault('z', 9) }} {{ d.setdefault('b') }} {{ d.copy() }} {{ d.popitem() }} {{ d }} {{ "
      "d.clear() }} {{ d }}", "{{ {}.pop('a') }}", "{{ {}.popitem() }}",
      "{% set l = [1, 2] %}{% set _ = l.append(3) %}{{ l }} {{ l.pop() }} {{ l.pop(0) }} {{ l }} {{ l.extend([5, 6]) }} {{ "
      "l.insert(1, 'x') }} {{ l }} {{ l.index(5) }} {{ l.count(5) }} {{ l.remove(5) }} {{ l }} {{ l.reverse() }} {{ l }} {{ "
      "l.copy() }} {{ l.clear() }} {{ l }}", "{{ [].pop() }}", "{{ [1].pop(5) }}", "{{ [1].remove(2) }}", "{{ [1].index(2) }}",
      "{% set l = [3, 1, 2] %}{{ l.sort() }}{{ l }}{{ l.sort(reverse=true) }}{{ l }}", "{% set l = ['b', 'A', 'a'] %}{{ l.sort() }}{{ l }}",
      "{% set l = [1, 2] %}{{ l.insert(-1, 'x') }}{{ l.insert(99, 'y') }}{{ l.insert(-99, 'z') }}{{ l }} {{ l.pop(-2) }} {{ l }}",
      "{% set a = [1] %}{% set b = a %}{% set _ = b.append(2) %}{{ a }}", "{% for x in [1] %}{% set _ = list.append(x) %}{% endfor %}{{ list }}",
      "{{ (1, 2, 1).count(1) }} {{ (1, 2).index(2) }}", "{{ (1, 2).append(3) }}",
      "{% set d = {} %}{% for k in 'abcdefghijklmnop' %}{% set _ = d.update({k: loop.index}) %}{% endfor %}{{ d }} {{ d.p }} {{ "
      "d['a'] }} {{ 'q' in d }} {{ d.pop('h') }} {{ d|length }} {{ d.keys()|list }}",
      "{% set d = {'a': 1, 'b': 2} %}{% for k in d %}{% set _ = d.update({'c': 1}) %}{% endfor %}",
      "{{ {'a': 1}.items()|list == [('a', 1)] }} {{ {'a': 1}.keys()|list }} {{ 'a' in {'a': 1}.keys() }} {{ ('a', 1) in {'a': "
      "1}.items() }} {{ 1 in {'a': 1}.values() }}", "{{ dict(map, q=1).q }} {{ dict(**map).b }} {{ {'a': {'b': {'c': 1}}}.a.b.c }}",
      "{{ [[1, 2], [3, 4]]|map('last')|list }} {{ [{'a': 1}]|map(attribute='a')|sum }}",
});

}  // namespace
}  // namespace sluice::text
