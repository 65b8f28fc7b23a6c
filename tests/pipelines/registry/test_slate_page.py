"""The page of slates before and after an update: what entered, left and moved, and titles that mean harm."""

from html.parser import HTMLParser

from pipelines.registry.slate_page import LONGEST_TITLE, UserSlates, lines, slates_page, title_of

TITLES = {"a": "Alien (1979)", "b": "Brazil (1985)", "c": "Chinatown (1974)", "d": "Dune (1984)"}
USER = UserSlates("u7", "2026-11-10T08", before=("a", "b", "c"), after=("c", "d", "b"), reactions=("b", "x"))


class Page(HTMLParser):
    """Tags with their attributes, and the text of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.words = set(), set(), []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.words.append(data.strip())


def test_each_position_says_what_entered_left_and_moved():
    assert [line.left for line in lines(USER)] == [True, False, False]
    assert [(line.before, line.after, line.mark) for line in lines(USER)] == [("a", "c", "↑2"), ("b", "d", "new"), ("c", "b", "↓1")]
    assert USER.kept == 2


def test_slates_of_different_length_lose_no_position():
    found = lines(UserSlates("u7", "h", ("a", "b"), ("a",)))
    assert [(line.before, line.left, line.after, line.mark) for line in found] == [("a", False, "a", ""), ("b", True, "", "")]


def test_the_page_counts_and_names():
    page = Page(slates_page("2026-11-10T09", [USER, UserSlates("u8", "h", ("a",), ("a",))], TITLES, "r000001"))
    words = " ".join(word for word in page.words if word)
    assert "Slates of 2 users, before and after hour 2026-11-10T09" in words
    assert "1 of 4 items" in words and "1 of 2 slates are the same" in words and "Production is r000001" in words
    assert "2 of 3 kept" in words and "Brazil (1985) ; x #" in words, "an item without a title is named by its id"


def test_a_title_is_one_short_line_and_never_empty():
    assert title_of("i", {"i": " Two\n lines\t"}) == "Two lines"
    assert title_of("i", {"i": " \n"}) == "i" == title_of("i", {})
    assert title_of("i", {"i": "x" * LONGEST_TITLE}) == "x" * LONGEST_TITLE
    assert title_of("i", {"i": "x" * 10_000}) == "x" * (LONGEST_TITLE - 1) + "…"


def test_titles_and_ids_that_hold_html_are_text():
    harm = "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><b onclick="alert(1)">', "</style><svg onload=alert(1)>"
    plain = Page(slates_page("h", [USER], {}, "r1"))
    user = UserSlates(harm[2], harm[3], harm[:2], (harm[1], harm[3]), (harm[0],))
    page = Page(slates_page(harm[0], [user], {harm[0]: harm[0], harm[3]: harm[1]}, harm[1]))
    assert page.tags == plain.tags and page.attributes == plain.attributes
    assert page.words.count(harm[1]) >= 3 and harm[0] in page.words
