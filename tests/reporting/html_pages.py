"""A page as a browser would read it: elements, attributes and text, and whether every element is closed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "hr", "input"}


@dataclass
class Element:
    """One element with its text, children and attributes."""

    tag: str
    attributes: dict[str, str]
    children: list["Element"] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text within, its white space joined."""
        return " ".join(" ".join(self.pieces).split())

    def all(self, tag: str) -> list["Element"]:
        """Every element of this kind within, in the page's order."""
        return [element for element in self.walk() if element.tag == tag]

    def walk(self) -> Iterator["Element"]:
        """This element and everything within."""
        yield self
        for child in self.children:
            yield from child.walk()

    def by_id(self, name: str) -> "Element":
        """The one element of this id."""
        (found,) = [element for element in self.walk() if element.attributes.get("id") == name]
        return found

    def has_id(self, name: str) -> bool:
        """Whether there is an element of this id."""
        return any(element.attributes.get("id") == name for element in self.walk())


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open[-1].tag != "style":
            for element in self.open:
                element.pieces.append(data)


def read_page(html: str) -> Element:
    """The page's root; fails where an element is not closed."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [reader.root], f"left open: {[element.tag for element in reader.open]}"
    return reader.root
