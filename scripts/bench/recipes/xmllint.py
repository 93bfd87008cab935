"""xmllint parses a document of 5 MB five times, validates it against its DTD and evaluates an XPath expression on it. Nearly
all of that is making and freeing libxml2's nodes, attributes and strings, one malloc each."""

from ._data import Prose, write

NEEDS = {"xmllint": "libxml2-utils"}
COMMAND = ["xmllint", "--nonet", "--valid", "--xpath",
           "//book[@kind = 'poem'][chapter/p/em = author or count(chapter) > 2]/title", *["{inputs}/library.xml"] * 5]

DTD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE library [
<!ELEMENT library (book*)>
<!ELEMENT book (title, author+, chapter*)>
<!ATTLIST book id ID #REQUIRED year CDATA #IMPLIED kind (novel|essay|poem) "novel">
<!ELEMENT title (#PCDATA)> <!ELEMENT author (#PCDATA)> <!ATTLIST author ref IDREF #IMPLIED>
<!ELEMENT chapter (p+)> <!ATTLIST chapter n CDATA #REQUIRED>
<!ELEMENT p (#PCDATA|em|ref)*> <!ELEMENT em (#PCDATA)> <!ELEMENT ref EMPTY> <!ATTLIST ref to IDREF #REQUIRED>
<!ENTITY dash "&#8212;"> <!ENTITY who "the &dash; author">
]>
<library>"""


def book(prose, i):
    rng = prose.rng
    authors = "".join(f"<author>{prose.word()} &amp; {prose.word().title()}</author>" for _ in range(rng.randrange(1, 4)))
    chapters = ""
    for n in range(rng.randrange(1, 4)):
        parts = "".join(f"<p>{prose.text(6)} <em>{prose.word()}</em> &who; {prose.text(5)}"
                        f"<ref to='b{rng.randrange(i + 1)}'/></p>"
                        for _ in range(rng.randrange(1, 5)))
        chapters += f"<chapter n='{n}'>{parts}</chapter>"
    return (f"<book id='b{i}' year='{rng.randrange(1700, 2000)}' kind='{rng.choice(('novel', 'essay', 'poem'))}'>"
            f"<title>{prose.text(4)}</title>{authors}{chapters}</book>")


def inputs(folder):
    prose = Prose(5)
    write(folder, "library.xml", "\n".join([DTD] + [book(prose, i) for i in range(6000)] + ["</library>\n"]))
