"""What a picture says and how it looks, for tests of pictures."""

import io


def texts(picture) -> str:
    return "\n".join(text.get_text() for text in picture.findobj(lambda artist: hasattr(artist, "get_text")))


def png(picture) -> bytes:
    content = io.BytesIO()
    picture.savefig(content, format="png")
    return content.getvalue()
