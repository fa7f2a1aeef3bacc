"""Cases of editing, to be read: text, edits, text. LONG stands for 90 letters.

A tilde where a line begins stands for a blank, which could not be seen.
"""

YAML = r"""
=== a name changes where it is, with its comments and what is below it
a:
  # the one in service
  blue:  # why
    b: 1 # kept
  'red': {c: 2}
d: {blue: 100, "e": 0}
>>> /a/blue named green
>>> /a/red named on
>>> /d/blue named a: b
>>> /d/e named f
a:
  # the one in service
  green:  # why
    b: 1 # kept
  'on': {c: 2}
d: {'a: b': 100, "f": 0}
=== a plain text stays plain, and its comment
a: x  # why
b: y
>>> /a = "z"
a: z  # why
b: y
=== what cannot be plain is quoted
a: x
b: y
>>> /a = "no"
>>> /b = "a: b"
a: 'no'
b: 'a: b'
=== each keeps its quotes
a: 'x'
b: "x"
c: 'x'
>>> /a = "it's"
>>> /b = "y"
>>> /c = "two\nlines"
a: 'it''s'
b: "y"
c: "two\nlines"
=== a number and a text
a: 10
b: x
c: '10'
>>> /a = 20
>>> /b = 5
>>> /c = "20"
a: 20
b: 5
c: '20'
=== a text of several lines
a: one
  two
b: "one
  two"   # why
>>> /a = "x"
>>> /b = "y"
a: x
b: "y"   # why
=== a literal block stays one
a: |  # why
  one
    two

# next
b: 1
>>> /a = "three\n\n  four\n"
a: |  # why
  three

    four

# next
b: 1
=== a folded block stays one where it can
a: >-
  one
  two
b: >
  one
>>> /a = "three four"
>>> /b = "five\nsix\n"
a: >-
  three four
b: |
  five
  six
=== a block that no block can be any more
a: |
  one

b: |2  # why
   one
   two
c: >-
  x
>>> /a = 1
>>> /b = " x "
>>> /c = {"d": "e"}
a: 1

b: ' x '  # why
c: {d: e}
=== nothing written is null
a:
b:   # why
c: ~
d: null  # why
>>> /a = "x"
>>> /b = "x"
>>> /c = "x"
>>> /d = "x"
a: x
b: x   # why
c: x
d: x  # why
=== a parent without a value is filled in
spec:
# c
>>> /spec/a/b = 1
spec: {a: {b: 1}}
# c
=== a long value in lines
a: x  # why
b: 1
>>> /a = {"k": "LONG", "l": [1, {"m": "LONG", "n": {}}], "o": {"p": "LONG"}}
a:  # why
  k: LONG
  l:
    - 1
    - m: LONG
      n: {}
  o:
    p: LONG
b: 1
=== a block becomes something short
a:  # why
  # about b
  b: 1  # one
  # about c
  c: 2  # two
  # behind
d:
- 1
- 2
e: 3
>>> /a = "x"
>>> /d = 5
a: x  # why
  # about b
  # behind
d: 5
e: 3
=== a block becomes another block
a:  # why
  b: 1
  c: 2
d: 3
>>> /a = ["LONG", {"x": "y"}]
a:  # why
  - LONG
  - {x: y}
d: 3
=== a mapping that changes in part keeps its comments
a:
  # about b
  b: 'x'  # b
  # about c
  c: {d: 1, e: 2}  # c
  # about f
  f: 3
>>> /a = {"b": "y", "c": {"e": 2}, "g": 1}
a:
  # about b
  b: 'y'  # b
  # about c
  c: {e: 2}  # c
  # about f
  g: 1
=== a list that loses an item keeps the others' comments
a:
  - one    # 1
  - two    # 2
  - three  # 3
b: [one, two, three]
>>> /a = ["one", "three"]
>>> /b = ["two", "three"]
a:
  - one    # 1
  - three  # 3
b: [two, three]
=== a list that grows and changes
a:
  - one    # 1
  - two    # 2
>>> /a = ["one", "too", "three"]
a:
  - one    # 1
  - too    # 2
  - three
=== a key is added behind the last
spec:
    a: 1
    b:
        c: 2  # why
    # about nothing

other: 1
>>> /spec/d = "x"
>>> /spec/b/e = ["LONG"]
spec:
    a: 1
    b:
        c: 2  # why
        e:
            - LONG
    d: x
    # about nothing

other: 1
=== missing parents are made
a: 1
>>> /b/c/d = "x"
>>> /e/f = "LONG"
a: 1
b: {c: {d: x}}
e:
  f: LONG
=== a key behind a block of text
a: |+
  x

b:
  c: |
    y
  # not y
d: 1
>>> /b/e = 2
>>> /f = 3
a: |+
  x

b:
  c: |
    y
  e: 2
  # not y
d: 1
f: 3
=== a key behind blanks that count
a:
  b: |
    x
~~~~~~
~~
c: 1
>>> /a/d = 1
a:
  b: |
    x
~~~~~~
  d: 1
~~
c: 1
=== between brackets
a: {x: 1, y: 2}  # why
b: {}
c: []
d: { x: 1 }
e: {x: 1,}
f: [1,2]
>>> /a/z = "no"
>>> /b/k = "v"
>>> /c/0 = {"k": "v, w"}
>>> /d/y = {"k": "v"}
>>> /e/y = 2
>>> /f/- = 3
a: {x: 1, y: 2, z: 'no'}  # why
b: {k: v}
c: [{k: 'v, w'}]
d: { x: 1, y: {k: v} }
e: {x: 1, y: 2,}
f: [1,2,3]
=== between brackets, replaced
a: {x: plain, y: 'single', z: "double", n: , l: [1]}
>>> /a/x = "a, b"
>>> /a/y = "c"
>>> /a/z = "d"
>>> /a/n = "e"
>>> /a/l = {"x": "LONG"}
a: {x: 'a, b', y: 'c', z: "d", n: e , l: {x: LONG}}
=== a key without a colon, and an empty value
a: {x, y}
b: {x: }
>>> /a/x = 1
>>> /a/z = 2
>>> /b/y = 1
a: {x: 1, y, z: 2}
b: {x: , y: 1 }
=== JSON in YAML stays JSON
a: {"x": "y", "n": 1}
>>> /a/n = "two"
>>> /a/z = {"k": ["v"]}
a: {"x": "y", "n": "two", "z": {"k": ["v"]}}
=== brackets over several lines
a: {
  x: 1,  # one
  y: 2   # two
}
b: [
  x,
  y,
]
c: {x: 1,
    y: 2}
>>> /a/z = 3
>>> /b/- = "z"
>>> /c/z = 3
a: {
  x: 1,  # one
  y: 2,   # two
  z: 3
}
b: [
  x,
  y,
  z,
]
c: {x: 1,
    y: 2,
    z: 3}
=== brackets over several lines, taken away
a: {
  # about x
  x: 1,  # one
  # about y
  y: 2,  # two
  # about z
  z: 3   # three
}
b: {
  x: 1,
  y: 2,
}
>>> /a/x gone
>>> /a/z gone
>>> /b/y gone
a: {
  # about x
  # about y
  y: 2  # two
  # about z
}
b: {
  x: 1,
}
=== a mapping that becomes another one is written anew
definition: {file: census.definition.json}  # ours
b: {c: 1}
>>> /definition = {"location": "a", "tags": {"k": "LONG"}}
>>> /b = {"d": 1}
definition:  # ours
  location: a
  tags:
    k: LONG
b: {d: 1}
=== taken away between brackets, before a comment
a: {x: 1, # one
  y: 2, z: 3, # two
  w: 4}
>>> /a/x gone
>>> /a/z gone
a: { # one
  y: 2, # two
  w: 4}
=== taken away between brackets
a: {x: 1, y: 2, z: 3}
b: [1, 2, 3]
c: [x]
d: {x: {y: 1}}  # why
>>> /a/x gone
>>> /a/z gone
>>> /b/1 gone
>>> /c/0 gone
>>> /d/x gone
a: {y: 2}
b: [1, 3]
c: []
d: {}  # why
=== a key goes with its lines and its comment
spec:
  # about a
  a: 1  # a
  # about b
  b:    # b
    # inside
    c: 1
    d: |
      x
  # about e
  e: 2
>>> /spec/a gone
>>> /spec/b gone
spec:
  # about a
  # about b
  # about e
  e: 2
=== what becomes empty
a:  # why
  # about b
  b: 1
c:
- 1  # one
d: 1
>>> /a/b gone
>>> /c/0 gone
a: {}  # why
  # about b
c: []
d: 1
=== items of a list
a:
- x   # one
-     # nothing
- k: 1
  l: 2
- - y
  - z
>>> /a/0 = "X"
>>> /a/1 = {"m": 1}
>>> /a/2/k = {"n": "LONG"}
>>> /a/2/o = 3
>>> /a/3/- = "w"
>>> /a/- = {"p": "LONG", "q": 1}
a:
- X   # one
- {m: 1}     # nothing
- k:
    n: LONG
  l: 2
  o: 3
- - y
  - z
  - w
- p: LONG
  q: 1
=== items of a list become something else
- x
- y  # why
- k: 1
  l: 2
-
  k: 1
  l: 2  # l
>>> /0 = {"a": "LONG", "b": 1}
>>> /1 = {"a": "LONG", "b": 1}
>>> /2 = "z"
>>> /3 = "z"
- a: LONG
  b: 1
-  # why
  a: LONG
  b: 1
- z
- z
=== items of a list taken away
- k: 1  # k
  l: 2
- k: 1
  # about l
  l: 2
- - x
  - y
- z
>>> /0/k gone
>>> /1/k gone
>>> /2/0 gone
>>> /3 gone
- l: 2
-
  # about l
  l: 2
- - y
=== odd keys
"a": 1
'b c': 2
? d
: 3
/e~f: 4
"no": 5
>>> /a = 10
>>> /b c = 20
>>> /d = 30
>>> /~1e~0f = 40
>>> /no gone
>>> /012 = {"yes": "x"}
"a": 10
'b c': 20
? d
: 30
/e~f: 40
'012': {'yes': x}
=== an alias is a value that can go; an anchor that nobody uses too
a: &x 1
b: *x
c: {d: *x , e: 2}
f: &y z
g: &z
  h: 1
>>> /b = 2
>>> /c/d gone
>>> /f = 3
>>> /g/i = 2
a: &x 1
b: 2
c: {e: 2}
f: 3
g: &z
  h: 1
  i: 2
=== tags of YAML itself
a: !!str 5  # why
b: !!map {c: 1}
d: !!map
  e: 1
>>> /a = "6"
>>> /b/f = 2
>>> /d = "g"
a: '6'  # why
b: !!map {c: 1, f: 2}
d: g
=== what is there already
a: "x"   # why
b: {c: [1, 2.50, 0.0], d: {f: 1, e: 2}}
g: |
  x
>>> /a = "x"
>>> /b = {"d": {"e": 2, "f": 1}, "c": [1, 2.5, 0.0]}
>>> /g = "x\n"
>>> /nothing/here gone
>>> /a/x/y gone
a: "x"   # why
b: {c: [1, 2.50, 0.0], d: {f: 1, e: 2}}
g: |
  x
=== one after the other
a: 1
>>> /b/c = 1
>>> /b/d = 2
>>> /a gone
>>> /b/c gone
b: {d: 2}
"""

JSON = r"""
=== a name
{
  "a": {"b" : 1},
  "c": 2
}
>>> /a/b named d
>>> /a named e"f
{
  "e\"f": {"d" : 1},
  "c": 2
}
=== values
{
  "a": "x",
  "b": {"c" : [1,2]},
  "d": null
}
>>> /a = "\u00e9 \u202e \"\\\n"
>>> /b/c/1 = 3
>>> /d = {"e": [1, {"f": "g"}], "h": {}}
{
  "a": "é \u202e \"\\\n",
  "b": {"c" : [1,3]},
  "d": {
    "e": [
      1,
      {
        "f": "g"
      }
    ],
    "h": {}
  }
}
=== added
{
  "a": {
    "b": [
      1
    ],
    "c": {}
  },
  "d": {"e": 1}
}
>>> /a/b/- = {"x": "y"}
>>> /a/c/k = "v"
>>> /a/f = 1.5
>>> /d/g/h = true
{
  "a": {
    "b": [
      1,
      {
        "x": "y"
      }
    ],
    "c": {
      "k": "v"
    },
    "f": 1.5
  },
  "d": {"e": 1, "g": {"h": true}}
}
=== taken away
{
  "a": 1,
  "b": {
    "c": 1
  },
  "d": [1, 2, 3],
  "e": [
    "x",
    "y"
  ],
  "f": 2
}
>>> /a gone
>>> /b/c gone
>>> /d = [1, 3]
>>> /e = ["x"]
>>> /f gone
{
  "b": {},
  "d": [1, 3],
  "e": [
    "x"
  ]
}
=== all on one line
{"a":1,"b":{"c":[1,2],"d":"#"},"e":[]}
>>> /a = {"x":[1,2]}
>>> /b/d gone
>>> /b/f = {"g":"h"}
>>> /e/0 = 1
{"a":{"x":[1,2]},"b":{"c":[1,2],"f":{"g":"h"}},"e":[1]}
"""
