"""What `bench speculation` has continued: lists of shapes, JSON records, and free prose for comparison.

Small models answer a request for forty shapes with four, so the lists are begun here and the model goes on
with them; the prose is asked for in ChatML, the template of the sample model. Not every answer is true to its
start, but all are of the kind that they are to be.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt: what kind of answer it gets, and its name among those."""

    kind: str
    name: str
    prompt: str


_SHAPES = """\
star 388 215 red, triangle 261 248 yellow, triangle 244 183 black, square 258 71 green,
square 386 48 black, triangle 272 361 black, square 158 50 orange, circle 350 169 yellow,
hexagon 51 181 yellow, triangle 312 327 blue, hexagon 244 226 black, triangle 31 280 red,
circle 368 204 orange, circle 313 252 green, square 373 166 orange, circle 97 290 blue,
square 72 278 yellow, circle 41 163 black, star 55 154 black, triangle 361 63 black,
triangle 276 104 black, hexagon 300 147 yellow, circle 305 197 green, hexagon 123 148 blue,
square 95 16 black, triangle 243 35 red, square 76 19 red, hexagon 349 200 orange,
hexagon 141 267 blue, square 347 301 yellow, hexagon 140 230 yellow, triangle 42 166 black,
circle 249 300 orange, triangle 97 124 red, triangle 59 361 blue, triangle 87 170 yellow,
circle 51 74 orange, square 23 293 orange, hexagon 308 348 red, circle 63 325 blue"""
_PEOPLE = """\
1,Anna Schmidt,56,Berlin,true
2,Luca Rossi,43,Rome,true
3,Marie Dubois,41,Paris,true
4,John Miller,20,Chicago,true
5,Yuki Tanaka,30,Osaka,true
6,Sofia Garcia,63,Madrid,true
7,Omar Haddad,48,Cairo,true
8,Ivan Petrov,64,Sofia,true
9,Emma Jensen,77,Oslo,true
10,Minjun Kim,52,Seoul,false
11,Lucas Silva,57,Recife,true
12,Aisha Khan,71,Lahore,false
"""


def _line(number: int, shape: list[str]) -> str:
    form, x, y, colour = shape
    return f"{number}. {form} at ({x}, {y}), colour {colour}\n"


def _element(shape: list[str]) -> str:
    form, x, y, colour = shape
    return f'<use href="#{form}" x="{x}" y="{y}" fill="{colour}"/>\n'


def _shape(shape: list[str]) -> str:
    form, x, y, colour = shape
    return f'{{"shape": "{form}", "x": {x}, "y": {y}, "colour": "{colour}"}}\n'


def _person(person: list[str]) -> str:
    number, name, age, city, active = person
    return f'{{"id": {number}, "name": "{name}", "age": {age}, "city": "{city}", "active": {active}}}\n'


def _asked(question: str) -> str:
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


_shapes = [shape.split() for shape in _SHAPES.replace("\n", " ").split(", ")]
_people = [person.split(",") for person in _PEOPLE.splitlines()]
_lines = [_line(number, shape) for number, shape in enumerate(_shapes, start=1)]

TEXTS = (
    Text(
        "shapes",
        "a list",
        f"A list of 40 shapes with their coordinates and colours:\n{''.join(_lines[:10])}11.",
    ),
    Text(
        "shapes",
        "JSON",
        f"Shapes of a drawing, one JSON object per line.\n\n{''.join(map(_shape, _shapes[:8]))}",
    ),
    Text(
        "shapes",
        "a list as SVG",
        f"A list of 40 shapes:\n{''.join(_lines)}\nThe same as SVG, one element per line:\n"
        f"{''.join(map(_element, _shapes[:3]))}",
    ),
    Text(
        "records",
        "JSON",
        f"People in a database, one JSON object per line.\n\n{''.join(map(_person, _people[:6]))}",
    ),
    Text(
        "records",
        "CSV as JSON",
        f"id,name,age,city,active\n{_PEOPLE}\nThe same records as JSON, one per line:\n"
        f"{''.join(map(_person, _people[:2]))}",
    ),
    Text(
        "prose",
        "a story",
        _asked("Write a short story about an old fisherman who finds a letter in a bottle."),
    ),
    Text("prose", "an explanation", _asked("Explain why the sky is blue and why sunsets are red.")),
    Text("prose", "advice", _asked("What should I think about before I move to another country?")),
)
