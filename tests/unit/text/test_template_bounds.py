"""Templates that break or do harm."""

import time
from pathlib import Path

import pytest
from support.templates import USER, template_of

from slipway.contract.errors import EngineRefused, InvalidRequest
from slipway.text import budget


def test_what_a_template_says_of_a_refusal_is_cut_at_some_length(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        template_of(tmp_path, "{{ raise_exception('a' * 99999) }}").render([USER])
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ namespace(__class__=1) }}",
        "{% include 'a' %}",
        "{% set ns = namespace() %}{% set ns._x = 1 %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(tmp_path: Path, attack: str) -> None:
    with pytest.raises(InvalidRequest):
        template_of(tmp_path, attack).render([])


@pytest.mark.parametrize(
    "look",
    [
        "{{ x.__class__ }}{{ messages.__class__ }}",
        "{{ dict.__class__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ messages|map(attribute='__class__')|join }}",
    ],
)
def test_a_template_sees_nothing_of_python(tmp_path: Path, look: str) -> None:
    assert template_of(tmp_path, look).render([USER]) == ""


NESTED = "{% set ns = namespace(x=['a']) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"


DOUBLED = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = "


@pytest.mark.parametrize(
    "attack",
    [
        "{% for i in range(10**9) %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{{ range(99999)|map('string')|list|length }}{% endfor %}",
        "{% for i in range(99999) %}{{ range(99999)|sum }}{% endfor %}",
        "{% for i in range(99999) recursive %}{{ loop(range(9)) }}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% macro f() %}{{ caller() }}{% endmacro %}{% for i in range(99999) %}{% for j in range(99999) %}"
        "{% call f() %}x{% endcall %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{{ 10**9 * 'a' }}",
        "{{ ['a'] * 10**9 }}",
        "{{ [[1] * 1000] * 10**8 }}",
        "{{ 10**(10**10) }}",
        "{% set ns = namespace(x=7) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%1000000000d'|format(1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 1000000000) }}",
        "{{ '{:1000000000}'.format_map({}) }}",
        "{{ ('{0}' * 9999999).format('a' * 9999) }}",
        "{{ ('%s' * 999999) % ('a' * 999999) }}",
        "{{ 'a'.center(10**9) }}",
        "{{ 'a'.zfill(1000000000) }}",
        "{{ 'a'|center(1000000000) }}",
        "{{ 'a\n'|indent(width=1000000000) }}",
        "{{ [1]|batch(1000000000, 'x')|list }}",
        "{{ 1.5|round(1000000000, 'ceil') }}",
        "{{ [1]|tojson(indent=1000000000) }}",
        "{{ ('a' * 9999999).replace('a', 'b' * 9999999) }}",
        "{{ ('a' * 9999999)|replace('a', 'b' * 9999999) }}",
        "{{ ('b' * 9999999).join(range(99999)|map('string')) }}",
        "{{ (['b' * 9999] * 999999)|join }}",
        "{{ range(99999)|join('b' * 9999999) }}",
        "{{ ('\t' * 9999999).expandtabs(999999) }}",
        "{{ ('a' * 9999999).translate({97: 'b' * 9999999}) }}",
        DOUBLED + "ns.x + ns.x %}{% endfor %}",
        DOUBLED + "ns.x ~ ns.x %}{% endfor %}",
        DOUBLED + "[ns.x, ns.x]|join %}{% endfor %}",
        DOUBLED + "ns.x|replace('a', 'aab') %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}"
        "{% set ns.x = y %}{% endfor %}",
        "{% set big = 'a' * 9999999 %}{% set ns = namespace(x=[]) %}{% for i in range(9999) %}"
        "{% set ns.x = ns.x + [big[1:]] %}{% endfor %}",
        "{% for i in range(99999) %}{% set y %}" + "long text " * 999 + "{% endset %}{% endfor %}",
        "{% for i in range(99999) %}" + "long text " * 999 + "{% endfor %}",
        NESTED + "{{ ns.x }}",
        NESTED + "{{ ns.x|string }}",
        NESTED + "{{ ns.x|tojson }}",
        NESTED + "{{ ns.x ~ '' }}",
        NESTED + "{{ ns.x|join }}",
        NESTED + "{{ '%s' % ns.x }}",
        NESTED + "{{ '{}'.format(ns.x) }}",
        NESTED + "{{ ns.x|pprint }}",
        NESTED + "{{ ns.x|center }}",
        NESTED + "{{ ns.x|format }}",
        NESTED + "{{ ns.x|upper }}",
        NESTED + "{{ [ns.x]|map('trim')|list }}",
        "{{ lipsum(n=1000000) }}",
        "{{ ('{0:9999}' * 999999).format(1) }}",
        "{{ ('%9999d' * 9999) % ([1] * 9999) }}",
        "{{ ('a b ' * 9999)|wordwrap(1, wrapstring='b' * 9999999) }}",
        "{{ ('a\n' * 99999)|indent('b' * 9999999) }}",
        "{{ ([1] * 99999)|tojson(separators=('b' * 9999999, ':')) }}",
        "{% set n = ('f' * 9999999)|int(base=16) %}{% for i in range(99999) %}{{ n // 7 }}{% endfor %}",
        "{{ range(99999)|select('in', range(99999)|list)|list|length }}",
        "{{ ([[1] * 9999] * 9999)|sum(start=[])|length }}",
        "{{ ('ab,' * 9999999).split(',')|length }}",
        "{{ ('ab ' * 9999999).split()|length }}",
        "{{ ('a' * 9999999)|list|length }}",
        "{{ ('ab\n' * 9999999).splitlines()|length }}",
    ],
)
def test_a_template_without_end_or_measure_is_stopped(
    tmp_path: Path, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in life, but for the waiting: a fortieth of the time and of the items that are weighed one by one.
    monkeypatch.setattr(budget, "MAX_SECONDS", budget.MAX_SECONDS / 40)
    monkeypatch.setattr(budget, "_MAX_ITEMS", budget._MAX_ITEMS // 40)
    started = time.thread_time()
    with pytest.raises((InvalidRequest, EngineRefused)):
        template_of(tmp_path, attack).render([USER])
    assert time.thread_time() - started < 1.5


def test_a_number_in_a_text_that_is_formatted_is_no_width(tmp_path: Path) -> None:
    assert template_of(tmp_path, "{{ 'Room 12345'.format(1) }}").render([USER]) == "Room 12345"


@pytest.mark.parametrize("source", ["\n{% for %}", "{{ " + "(" * 500 + ")" * 500 + " }}"])
def test_a_broken_template_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(EngineRefused, match=r"chat_template\.jinja"):
        template_of(tmp_path, source)


def test_a_broken_template_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match="jinja:2 "):
        template_of(tmp_path, "\n{% for %}")


def test_loops_in_loops_that_python_cannot_hold_are_refused(tmp_path: Path) -> None:
    deep = "".join(f"{{% for a{n} in messages %}}" for n in range(30)) + "{% endfor %}" * 30
    with pytest.raises(EngineRefused, match="cannot be used"):
        template_of(tmp_path, deep)
