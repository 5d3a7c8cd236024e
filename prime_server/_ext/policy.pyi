"""What a server adds to answers and what it answers by itself."""

from collections.abc import Sequence

class Policy:
    """`server` is a header line, or empty; `methods` are the names that are taken besides those of RFC 9110 and PATCH.

    With `fields` other origins may read the answers: there is a text of header lines for none of the `origins`, and one for each of them; so there is
    in `preflights`. Without `origins` any is treated alike.
    """

    def __init__(
        self,
        *,
        server: bytes = b"",
        methods: Sequence[bytes] = (),
        raw_targets: bool = False,
        origins: Sequence[bytes] = (),
        fields: Sequence[bytes] = (),
        preflights: Sequence[bytes] = (),
    ) -> None: ...
    @property
    def shares(self) -> bool: ...
